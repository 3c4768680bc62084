// Brings the files of a VQ-Diffusion checkpoint from the Hugging Face Hub to a folder: those of the layout, and no others.

import { existsSync, mkdirSync, realpathSync, statfsSync } from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";
import { HubApiError, listFiles, type ListFileEntry, modelInfo } from "@huggingface/hub";
import { classifierFreeConfigSchema, modelIndexSchema } from "../checkpoint/config.ts";
import { readJson } from "../checkpoint/files/json.ts";
import { MODEL_TEXTS, REQUIRED_TEXTS, TOKENIZER_FILES } from "../checkpoint/model-files.ts";
import { withFolderLock } from "../util/folder-lock.ts";
import { INDEX_ENDING, shardNames } from "../checkpoint/weights/shards.ts";
import { pickWeights } from "../checkpoint/weights/weight-files.ts";
import { COMPONENTS } from "../checkpoint/weights/components.ts";
import { download, type RemoteFile } from "./download.ts";
import { DownloadError, hintOf } from "./errors.ts";

const UNCONDITIONAL = "learned_classifier_free_sampling_embeddings";
/** Downloaded along with the model's own files. */
const DOCUMENTS = ["README.md", "LICENSE"];
/** A repository with more is not a model's. */
const MAX_FILES = 10_000;

export interface PullOptions {
  /** "owner/name" */
  readonly repo: string;
  readonly dir: string;
  readonly endpoint: string;
  /** Branch, tag or commit. */
  readonly revision?: string | undefined;
  readonly variant?: string | undefined;
  readonly token?: string | undefined;
  /** The Hugging Face cache, whose files are copied rather than downloaded. */
  readonly cacheDir?: string | undefined;
  /** Bytes of the weights that are on the disk; the texts before them are small. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  readonly firstRetryMs?: number;
}

interface Listing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, ListFileEntry>;
}

/** Returns the paths, below `dir`, of all files that make up the checkpoint. Throws DownloadError and CheckpointError. */
export async function pullCheckpoint(options: PullOptions): Promise<string[]> {
  const dir = resolve(options.dir);
  return withFolderLock(dir, () => pullTo(dir, options));
}

async function pullTo(dir: string, options: PullOptions): Promise<string[]> {
  const { repo, variant } = options;
  const listing = await list(options);
  const isListed = (path: string): boolean => listing.files.has(path);
  const missing = REQUIRED_TEXTS.filter((path) => !isListed(path));
  if (![TOKENIZER_FILES.merges, TOKENIZER_FILES.json].some(isListed)) missing.push(TOKENIZER_FILES.merges);
  if (missing.length > 0) {
    throw new DownloadError(
      `${repo} is not a checkpoint in the diffusers layout: it has no ${missing.join(", ")}`,
    );
  }
  const texts = [...MODEL_TEXTS, ...DOCUMENTS].filter(isListed);
  const quiet = { ...options, onProgress: undefined };
  await fetchFiles(listing, texts, dir, quiet);
  // Before gigabytes of another model come.
  readJson(join(dir, "model_index.json"), modelIndexSchema);

  const { learnable } = readJson(join(dir, UNCONDITIONAL, "config.json"), classifierFreeConfigSchema);
  const needed = COMPONENTS.filter((component) => component !== UNCONDITIONAL || learnable);
  const chosen = needed.map((component) => {
    const prefix = `${component}/`;
    const names = [...listing.files.keys()].filter((path) => path.startsWith(prefix));
    const file = pickWeights(
      names.map((path) => path.slice(prefix.length)),
      component,
      variant,
    );
    if (file === undefined) throw new DownloadError(`${repo} has no weights in ${component}`);
    return prefix + file;
  });
  if (variant !== undefined && !chosen.some((path) => basename(path).includes(`.${variant}.`))) {
    throw new DownloadError(`${repo} has no files of the variant ${JSON.stringify(variant)}`);
  }
  const indexes = chosen.filter((path) => INDEX_ENDING.test(path));
  await fetchFiles(listing, indexes, dir, quiet);
  const shards = indexes.flatMap((path) =>
    shardNames(join(dir, path)).map((name) => `${dirname(path)}/${name}`),
  );
  const weights = [...chosen.filter((path) => !INDEX_ENDING.test(path)), ...shards];
  await fetchFiles(listing, weights, dir, options);
  return [...texts, ...indexes, ...weights];
}

async function list({ repo, revision = "main", endpoint, token }: PullOptions): Promise<Listing> {
  const common = { hubUrl: endpoint, ...(token === undefined ? {} : { accessToken: token }) };
  try {
    // All files of one commit, even if the branch moves meanwhile.
    const { sha } = await modelInfo({ name: repo, revision, additionalFields: ["sha"], ...common });
    if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha))
      throw new DownloadError(`${repo} has no commit`);
    const files = new Map<string, ListFileEntry>();
    const entries = listFiles({
      repo: { type: "model", name: repo },
      revision: sha,
      recursive: true,
      ...common,
    });
    for await (const entry of entries) {
      if (entry.type === "file") files.set(entry.path, entry);
      if (files.size > MAX_FILES) throw new DownloadError(`${repo} has more than ${MAX_FILES} files`);
    }
    return { commit: sha, files };
  } catch (error) {
    throw explain(error, repo, revision, token);
  }
}

function explain(error: unknown, repo: string, revision: string, token: string | undefined): Error {
  if (error instanceof DownloadError) return error;
  if (error instanceof HubApiError) {
    if (error.statusCode === 401 || error.statusCode === 403) {
      const hint =
        token === undefined
          ? "; a private one needs a token (hf auth login, or HF_TOKEN)"
          : " for this token";
      return new DownloadError(`${repo}: no such repository, or no access to it${hint}${saidBy(error)}`, {
        cause: error,
      });
    }
    if (error.statusCode === 404) {
      return new DownloadError(
        `${repo}: no such repository, or no revision ${JSON.stringify(revision)} of it`,
        {
          cause: error,
        },
      );
    }
    return new DownloadError(`${repo}: the server responded ${error.statusCode}${saidBy(error)}`, {
      cause: error,
    });
  }
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return new DownloadError(
    `${repo}: cannot reach the Hugging Face Hub: ${cause instanceof Error ? cause.message : "?"}`,
    {
      cause: error,
    },
  );
}

/** What the server itself says of the error. */
function saidBy({ data }: HubApiError): string {
  const said = data?.["error"];
  return typeof said === "string" ? ` (the server says: ${hintOf(said)})` : "";
}

async function fetchFiles(
  { commit, files }: Listing,
  paths: readonly string[],
  dir: string,
  { repo, endpoint, token, cacheDir, onProgress, firstRetryMs }: PullOptions,
): Promise<void> {
  const remote = paths.map((path) => {
    const entry = files.get(path);
    if (entry === undefined) throw new DownloadError(`${repo} has no ${path}`);
    const url = `${endpoint}/${repo}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
    return { path, file: remoteFile(repo, entry, url) };
  });
  const total = remote.reduce((sum, { file }) => sum + file.size, 0);
  mkdirSync(dir, { recursive: true });
  const { bavail, bsize } = statfsSync(dir);
  const present = remote.filter(({ path }) => existsSync(join(dir, path)));
  const wanted = total - present.reduce((sum, { file }) => sum + file.size, 0);
  if (wanted > bavail * bsize)
    throw new DownloadError(`${dir}: ${wanted} bytes are needed, ${bavail * bsize} are free`);
  let before = 0;
  for (const { path, file } of remote) {
    const start = before;
    await download(file, place(dir, path), {
      token,
      copies: cacheDir === undefined ? [] : [cachedBlob(cacheDir, repo, file)],
      ...(firstRetryMs === undefined ? {} : { firstRetryMs }),
      onProgress: (done) => onProgress?.(start + done, total),
    });
    before += file.size;
  }
}

/** Where the Hugging Face cache keeps a file of this content. */
const cachedBlob = (cacheDir: string, repo: string, { hash }: RemoteFile): string =>
  join(cacheDir, `models--${repo.replace("/", "--")}`, "blobs", hash.hex);

function remoteFile(repo: string, { path, size, oid, lfs }: ListFileEntry, url: string): RemoteFile {
  if (lfs !== undefined && /^[0-9a-f]{64}$/.test(lfs.oid)) {
    return { url, size: lfs.size, hash: { algorithm: "sha256", hex: lfs.oid } };
  }
  if (oid === undefined || !/^[0-9a-f]{40}$/.test(oid)) {
    throw new DownloadError(`${repo} has no hash of ${path}, so it cannot be verified`);
  }
  return { url, size, hash: { algorithm: "git-sha1", hex: oid } };
}

/** Where a file goes; a link in the folder must not lead out of it. */
function place(dir: string, path: string): string {
  const target = join(dir, path);
  mkdirSync(dirname(target), { recursive: true });
  const real = realpathSync(dirname(target));
  const root = realpathSync(dir);
  if (real !== root && !real.startsWith(root + sep)) {
    throw new DownloadError(`${dirname(target)} is a link out of ${dir}; nothing is written there`);
  }
  return target;
}
