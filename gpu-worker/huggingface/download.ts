// Downloads one file from the Hugging Face Hub: resumes where it was interrupted, checks size and hash, then moves it into
// place.

import { createHash } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { copyFile, open, rename, rm, stat } from "node:fs/promises";
import { DownloadError, hintOf } from "./errors.ts";

/** Consecutive attempts that bring no data. */
const MAX_ATTEMPTS = 5;
const FIRST_RETRY_MS = 1000;
/** A connection without data for this long is dropped and resumed. */
const SILENCE_MS = 30_000;

export interface RemoteFile {
  readonly url: string;
  readonly size: number;
  /** Hash of the content, or for small files git's own hash of it. */
  readonly hash: { readonly algorithm: "sha256" | "git-sha1"; readonly hex: string };
}

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
  if ((await sizeOf(path)) === file.size && (await matches(file, path))) {
    options.onProgress?.(file.size);
    return;
  }
  const part = `${path}.${file.hash.hex.slice(0, 12)}.part`;
  if (!(await copyFrom(options.copies ?? [], file, part))) {
    const isResumed = ((await sizeOf(part)) ?? 0) > 0;
    await fetchAll(file, part, options);
    if (!(await matches(file, part))) {
      await rm(part);
      // The part left by an earlier run may be damaged, so start over once.
      if (isResumed) return download(file, path, options);
      throw new DownloadError(`${path}: the downloaded file does not have the hash that the server lists`);
    }
  }
  await onDisk(path, () => rename(part, path));
}

/** Copies the first of `copies` that is the file to `part`; false if there is none. */
async function copyFrom(copies: readonly string[], file: RemoteFile, part: string): Promise<boolean> {
  for (const copy of copies) {
    if ((await sizeOf(copy)) !== file.size || !(await matches(file, copy))) continue;
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
      if (before > file.size) await rm(part);
      await fetchRest(file, part, options);
      return;
    } catch (error) {
      if (error instanceof DownloadError) throw error;
      failures = ((await sizeOf(part)) ?? 0) > before ? 1 : failures + 1;
      if (failures === MAX_ATTEMPTS)
        throw new DownloadError(`${file.url}: ${reason(error)}`, { cause: error });
      const delay = (options.firstRetryMs ?? FIRST_RETRY_MS) * 2 ** (failures - 1);
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }
}

/** One request for the missing bytes; throws a DownloadError for failures that a retry cannot fix. */
async function fetchRest(file: RemoteFile, part: string, options: DownloadOptions): Promise<void> {
  const begin = (await sizeOf(part)) ?? 0;
  const handle = await onDisk(part, () => open(part, "a"));
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(new Error(`silent for ${SILENCE_MS} ms`)), SILENCE_MS);
  try {
    if (begin === file.size) return;
    const response = await fetch(file.url, {
      signal: abort.signal,
      headers: {
        // Of a compressed response, ranges would mean something else.
        "accept-encoding": "identity",
        ...(begin > 0 ? { range: `bytes=${begin}-` } : {}),
        ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      },
    });
    if (response.status === 416 && begin > 0) {
      await handle.truncate(0);
      throw new Error("the server does not have the rest of the file (416)");
    }
    checkStatus(file, response);
    let done = begin;
    if (response.status !== 206) {
      // The server sends the whole file again.
      await handle.truncate(0);
      done = 0;
    } else if (!response.headers.get("content-range")?.startsWith(`bytes ${begin}-`)) {
      await handle.truncate(0);
      throw new Error("the response is not the requested range");
    }
    for await (const chunk of response.body ?? []) {
      timer.refresh();
      done += chunk.length;
      if (done > file.size) {
        await handle.truncate(0);
        throw new DownloadError(`${file.url}: is larger than the ${file.size} bytes that the server lists`);
      }
      await onDisk(part, () => handle.appendFile(chunk));
      options.onProgress?.(done);
    }
    if (done < file.size) throw new Error(`ended after ${done} of ${file.size} bytes`);
  } finally {
    clearTimeout(timer);
    await handle.close();
  }
}

function checkStatus({ url }: RemoteFile, { status, ok, headers }: Response): void {
  if (ok) return;
  if (status === 401 || status === 403) {
    const hint = hintOf(headers.get("x-error-message") ?? `access is denied (${status})`);
    const page = url.slice(0, url.indexOf("/resolve/"));
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

async function matches({ size, hash }: RemoteFile, path: string): Promise<boolean> {
  const digest = createHash(hash.algorithm === "sha256" ? "sha256" : "sha1");
  if (hash.algorithm === "git-sha1") digest.update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 }))
    digest.update(chunk as Buffer);
  return digest.digest("hex") === hash.hex;
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
