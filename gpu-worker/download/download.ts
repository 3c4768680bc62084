// Downloads one file: resumes where it was interrupted, checks size and hash, then moves it into place.

import { createHash, type Hash } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { copyFile, open, rename, rm, stat } from "node:fs/promises";
import { DownloadError, hintOf } from "./errors.ts";

/** Consecutive attempts that bring no data. */
const MAX_ATTEMPTS = 5;
const FIRST_RETRY_MS = 1000;
/** A connection without data for this long is dropped and resumed. */
const SILENCE_MS = 30_000;

export interface RemotePart {
  readonly url: string;
  /** Bytes. */
  readonly size: number;
}

export interface RemoteFile {
  /** What it consists of, in order: most files of one part. */
  readonly parts: readonly RemotePart[];
  /** Hash of the content, or for small files git's own hash of it; undefined if none is known, and nothing can be checked. */
  readonly hash: { readonly algorithm: "sha256" | "git-sha1"; readonly hex: string } | undefined;
}

export const sizeOfFile = ({ parts }: Pick<RemoteFile, "parts">): number =>
  parts.reduce((sum, { size }) => sum + size, 0);

export interface DownloadOptions {
  readonly token?: string | undefined;
  /** Paths where the file may already be, such as the Hugging Face cache's. */
  readonly copies?: readonly string[];
  /** Called with the number of bytes of this file on disk. */
  readonly onProgress?: (done: number) => void;
  readonly firstRetryMs?: number;
}

/**
 * Downloads `file` to `path`, unless it is already there. An interrupted download is kept beside it, named by the hash, and
 * the next one resumes from it. Throws a DownloadError.
 */
export async function download(file: RemoteFile, path: string, options: DownloadOptions = {}): Promise<void> {
  const size = sizeOfFile(file);
  if ((await sizeOf(path)) === size && (await matches(file, path))) {
    options.onProgress?.(size);
    return;
  }
  const part = `${path}.${identityOf(file)}.part`;
  if (!(await copyFrom(options.copies ?? [], file, part))) {
    const isResumed = ((await sizeOf(part)) ?? 0) > 0;
    await fetchAll(file, part, options);
    if (!(await matches(file, part))) {
      await rm(part);
      // The part left by an earlier run may be damaged, so start over once.
      if (isResumed) return download(file, path, options);
      const wanted = file.hash === undefined ? "" : ` (${file.hash.hex})`;
      throw new DownloadError(`${path}: the downloaded file does not have the expected hash${wanted}`);
    }
  }
  await onDisk(path, () => rename(part, path));
}

/** What names an unfinished download: of another file, it must not be continued. */
function identityOf({ hash, parts }: RemoteFile): string {
  const urls = parts.map(({ url }) => url).join("\n");
  return (hash?.hex ?? createHash("sha256").update(urls).digest("hex")).slice(0, 12);
}

/** Copies the first of `copies` that is the file to `part`; false if there is none. */
async function copyFrom(copies: readonly string[], file: RemoteFile, part: string): Promise<boolean> {
  for (const copy of copies) {
    if (file.hash === undefined || (await sizeOf(copy)) !== sizeOfFile(file) || !(await matches(file, copy)))
      continue;
    await onDisk(part, () => copyFile(copy, part, constants.COPYFILE_FICLONE));
    return true;
  }
  return false;
}

const DISK_ERRORS: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full; free some space and run the command again, which resumes the download",
  EDQUOT: "the disk quota is used up; free some space and run the command again",
  EACCES: "this user may not write it; change the folder's owner or permissions",
  EPERM: "this user may not write it; change the folder's owner or permissions",
  EROFS: "the file system is read-only; give another folder with --dir",
  EISDIR: "is a folder; remove it",
  ENOTDIR: "its parent is not a folder; remove that",
};

/** Turns errors of the file system, which a retry does not help, into DownloadErrors for `path`. */
async function onDisk<T>(path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const explanation = DISK_ERRORS[(error as NodeJS.ErrnoException).code ?? ""];
    throw explanation === undefined ? error : new DownloadError(`${path}: ${explanation}`, { cause: error });
  }
}

async function fetchAll(file: RemoteFile, part: string, options: DownloadOptions): Promise<void> {
  let failures = 0;
  for (;;) {
    const before = (await sizeOf(part)) ?? 0;
    options.onProgress?.(before);
    try {
      if (before > sizeOfFile(file)) await rm(part);
      await fetchRest(file, part, options);
      if ((await sizeOf(part)) === sizeOfFile(file)) return;
      failures = 0;
    } catch (error) {
      if (error instanceof DownloadError) throw error;
      failures = ((await sizeOf(part)) ?? 0) > before ? 1 : failures + 1;
      if (failures === MAX_ATTEMPTS)
        throw new DownloadError(`${urlOf(file)}: ${reason(error)}`, { cause: error });
      const delay = (options.firstRetryMs ?? FIRST_RETRY_MS) * 2 ** (failures - 1);
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }
}

const urlOf = ({ parts }: RemoteFile): string => parts[0]?.url ?? "";

/** The part of the file that has byte `begin`, and where it starts. */
function partAt({ parts }: RemoteFile, begin: number): { part: RemotePart; start: number } | undefined {
  let start = 0;
  for (const part of parts) {
    if (begin < start + part.size) return { part, start };
    start += part.size;
  }
  return undefined;
}

/** One request for the missing bytes of a part; throws a DownloadError for failures that a retry cannot fix. */
async function fetchRest(file: RemoteFile, target: string, options: DownloadOptions): Promise<void> {
  const present = (await sizeOf(target)) ?? 0;
  const found = partAt(file, present);
  const handle = await onDisk(target, () => open(target, "a"));
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(new Error(`silent for ${SILENCE_MS} ms`)), SILENCE_MS);
  try {
    if (found === undefined) return;
    const { part, start } = found;
    const begin = present - start;
    const response = await fetch(part.url, {
      signal: abort.signal,
      headers: {
        // Of a compressed response, ranges would mean something else.
        "accept-encoding": "identity",
        ...(begin > 0 ? { range: `bytes=${begin}-` } : {}),
        ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      },
    });
    if (response.status === 416 && begin > 0) {
      await handle.truncate(start);
      throw new Error("the server does not have the rest of the file (416)");
    }
    checkStatus(part, response);
    let done = begin;
    if (response.status !== 206) {
      // The server sends the whole part again.
      await handle.truncate(start);
      done = 0;
    } else if (!response.headers.get("content-range")?.startsWith(`bytes ${begin}-`)) {
      await handle.truncate(start);
      throw new Error("the response is not the requested range");
    }
    for await (const chunk of response.body ?? []) {
      timer.refresh();
      done += chunk.length;
      if (done > part.size) {
        await handle.truncate(0);
        throw new DownloadError(`${part.url}: is larger than the ${part.size} bytes that the server lists`);
      }
      await onDisk(target, () => handle.appendFile(chunk));
      options.onProgress?.(start + done);
    }
    if (done < part.size) throw new Error(`ended after ${done} of ${part.size} bytes`);
  } finally {
    clearTimeout(timer);
    await handle.close();
  }
}

function checkStatus({ url }: RemotePart, { status, ok, headers }: Response): void {
  if (ok) return;
  if (status === 401 || status === 403) {
    const hint = hintOf(headers.get("x-error-message") ?? `access is denied (${status})`);
    const [page] = url.split("/resolve/");
    throw new DownloadError(
      headers.get("x-error-code") === "GatedRepo"
        ? `${page}: ${hint} Accept its conditions on that page, then log in (hf auth login) or set HF_TOKEN`
        : `${url}: ${hint}`,
    );
  }
  // Temporary: busy or broken.
  if (status === 429 || status >= 500) throw new Error(`the server responded ${status}`);
  throw new DownloadError(`${url}: the server responded ${status}`);
}

async function matches(file: RemoteFile, path: string): Promise<boolean> {
  const { hash } = file;
  if (hash === undefined) return true;
  const digest = createHash(hash.algorithm === "sha256" ? "sha256" : "sha1");
  if (hash.algorithm === "git-sha1") digest.update(`blob ${sizeOfFile(file)}\0`);
  return (await digestOf(digest, path)) === hash.hex;
}

/** Hex. */
export const sha256Of = (path: string): Promise<string> => digestOf(createHash("sha256"), path);

async function digestOf(digest: Hash, path: string): Promise<string> {
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 }))
    digest.update(chunk as Buffer);
  return digest.digest("hex");
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch {
    return undefined;
  }
}

/** fetch says only "fetch failed"; the cause says why. */
function reason(error: unknown): string {
  const { message, cause } = error instanceof Error ? error : new Error(String(error));
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}
