// Files at any http(s) address, whole or in several parts.

import { DownloadError } from "./errors.ts";
import type { RemoteFile, RemotePart } from "./download.ts";

/** How long a server may take to say how large a file is. */
const ANSWER_MS = 30_000;
const SHA256 = /^[0-9a-f]{64}$/i;

/**
 * The file whose parts are at `urls`, in order, with the size that their servers say. `sha256` is the hash of the whole, hex;
 * without it nothing is checked. Throws a DownloadError.
 */
export async function fileAt(urls: readonly string[], sha256: string | undefined): Promise<RemoteFile> {
  if (sha256 !== undefined && !SHA256.test(sha256)) {
    throw new DownloadError(`the SHA-256 must be 64 hexadecimal digits, not ${JSON.stringify(sha256)}`);
  }
  const parts: RemotePart[] = [];
  for (const url of urls) parts.push({ url, size: await sizeAt(url) });
  return {
    parts,
    hash: sha256 === undefined ? undefined : { algorithm: "sha256", hex: sha256.toLowerCase() },
  };
}

/** Asks for the first byte, since not every server answers HEAD, or with a length. */
async function sizeAt(url: string): Promise<number> {
  let response: Response;
  try {
    response = await fetch(url, {
      headers: { range: "bytes=0-0", "accept-encoding": "identity" },
      signal: AbortSignal.timeout(ANSWER_MS),
    });
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const reason = cause instanceof Error ? cause.message : "?";
    throw new DownloadError(`${url}: cannot be reached: ${reason}`, { cause: error });
  }
  await response.body?.cancel();
  const range = response.headers.get("content-range");
  // An empty file has no first byte.
  const isEmpty = response.status === 416 && range === "bytes */0";
  if (!response.ok && !isEmpty) throw new DownloadError(`${url}: the server responded ${response.status}`);
  const length = response.status === 200 ? response.headers.get("content-length") : range?.split("/")[1];
  const size = Number(length ?? Number.NaN);
  if (Number.isSafeInteger(size) && size >= 0) return size;
  throw new DownloadError(`${url}: the server does not say how large the file is`);
}
