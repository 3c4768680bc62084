// What a repository of the Hugging Face Hub holds: all files of one commit, with their sizes and hashes.

import { join } from "node:path";
import { HubApiError, listFiles, type ListFileEntry, modelInfo } from "@huggingface/hub";
import type { RemoteFile } from "../download/download.ts";
import { DownloadError, hintOf } from "../download/errors.ts";

/** A repository with more is not a model's. */
const MAX_FILES = 10_000;

export interface RepositoryOptions {
  /** "owner/name" */
  readonly repo: string;
  readonly endpoint: string;
  /** Branch, tag or commit. */
  readonly revision?: string | undefined;
  readonly token?: string | undefined;
}

export interface Listing {
  readonly paths: readonly string[];
  has(path: string): boolean;
  /** Throws a DownloadError if there is none, or no hash of it. */
  file(path: string): RemoteFile;
}

/** Throws a DownloadError that says whether the repository is missing, private, or the server out of reach. */
export async function listRepository(options: RepositoryOptions): Promise<Listing> {
  const { repo, endpoint } = options;
  const { commit, files } = await list(options);
  return {
    paths: [...files.keys()],
    has: (path) => files.has(path),
    file: (path) => {
      const entry = files.get(path);
      if (entry === undefined) throw new DownloadError(`${repo} has no ${path}`);
      const url = `${endpoint}/${repo}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
      return remoteFile(repo, entry, url);
    },
  };
}

async function list({
  repo,
  revision = "main",
  endpoint,
  token,
}: RepositoryOptions): Promise<{ commit: string; files: Map<string, ListFileEntry> }> {
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

/** Where the Hugging Face cache keeps a file of this content. */
export const cachedBlobs = (cacheDir: string | undefined, repo: string, { hash }: RemoteFile): string[] =>
  cacheDir === undefined || hash === undefined
    ? []
    : [join(cacheDir, `models--${repo.replace("/", "--")}`, "blobs", hash.hex)];

function remoteFile(repo: string, { path, size, oid, lfs }: ListFileEntry, url: string): RemoteFile {
  if (lfs !== undefined && /^[0-9a-f]{64}$/.test(lfs.oid)) {
    return { parts: [{ url, size: lfs.size }], hash: { algorithm: "sha256", hex: lfs.oid } };
  }
  if (oid === undefined || !/^[0-9a-f]{40}$/.test(oid)) {
    throw new DownloadError(`${repo} has no hash of ${path}, so it cannot be verified`);
  }
  return { parts: [{ url, size }], hash: { algorithm: "git-sha1", hex: oid } };
}
