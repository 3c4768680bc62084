// Downloads the official nats-server release, checks it against a pinned SHA-256, and unpacks it.

import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

export const RELEASE_VERSION = "2.11.17";
const DOWNLOAD_TIMEOUT_MS = 180_000;

/**
 * SHA-256 of `nats-server-v<RELEASE_VERSION>-<platform>.tar.gz`, from that release's SHA256SUMS: the Linux values as in
 * the Dockerfiles of nats-io/nats-docker, the macOS value as pinned by a third party, without a second source.
 * darwin-amd64 is missing because no published value was available; never add one that was computed from a download.
 */
const SHA256: Readonly<Record<string, string>> = {
  "linux-amd64": "ad608dd0ea8bbfa58c40e3b8f58ed67478eec26166ec49c502db8d17589b51b5",
  "linux-arm64": "d21df24f262f34f8bf6d1f0bca557c08429e433fd9f60f6983105539ae517feb",
  "linux-arm7": "5c1f445095ea9a455d6dd092967d20dd38c6bc8c4da13d108e7d3a1386ca3c7d",
  "linux-s390x": "4e19f27f2ee5f2fe9a5480d6b4541b63f58934524c14b839b2d4d32459ca91bc",
  "linux-ppc64le": "822e7a6ab51dca0cda69a3dc274ecf058f4502265984d09d9b45ab13b749a4f3",
  "darwin-arm64": "e17d11c5e9cb0824e003013304ba3d96ca24adbff9998084c746869c0347be9b",
};

const GO_ARCH: Readonly<Record<string, string>> = {
  x64: "amd64",
  arm64: "arm64",
  arm: "arm7",
  s390x: "s390x",
  ppc64: "ppc64le",
};

export interface Release {
  /** Name of the folder in the archive, and of the archive without `.tar.gz`. */
  readonly name: string;
  readonly url: string;
  readonly sha256: string;
}

/** The pinned release for a platform and architecture as Node names them, or undefined if there is no checksum for it. */
export function releaseFor(platform: string, arch: string): Release | undefined {
  const key = `${platform}-${GO_ARCH[arch] ?? arch}`;
  const sha256 = SHA256[key];
  if (sha256 === undefined) return undefined;
  const name = `nats-server-v${RELEASE_VERSION}-${key}`;
  const url = `https://github.com/nats-io/nats-server/releases/download/v${RELEASE_VERSION}/${name}.tar.gz`;
  return { name, url, sha256 };
}

/** Fetches, verifies and unpacks the release into `binDir`; returns the path of the executable. */
export async function installRelease(
  release: Release,
  binDir: string,
  download: (url: string) => Promise<Uint8Array> = fetchBytes,
): Promise<string> {
  const archive = await download(release.url);
  const actual = createHash("sha256").update(archive).digest("hex");
  if (actual !== release.sha256) {
    throw new Error(`${release.url} has SHA-256 ${actual} instead of ${release.sha256}; not unpacked`);
  }
  const binary = fileFromTar(gunzipSync(archive), `${release.name}/nats-server`);
  mkdirSync(binDir, { recursive: true });
  const path = join(binDir, "nats-server");
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, binary);
  chmodSync(temporary, 0o755);
  // Another stack may be running the existing binary; a rename leaves it its file.
  renameSync(temporary, path);
  return path;
}

async function fetchBytes(url: string): Promise<Uint8Array> {
  const response = await fetch(url, { signal: AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS) });
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

const BLOCK_BYTES = 512;

/** The contents of the entry `name` of a tar archive (ustar header: name at 0, size in octal at 124). */
function fileFromTar(tar: Buffer, name: string): Buffer {
  for (let offset = 0; offset + BLOCK_BYTES <= tar.length;) {
    const entry = tar.toString("latin1", offset, offset + 100).split("\0", 1)[0];
    const size = Number.parseInt(tar.toString("latin1", offset + 124, offset + 136), 8) || 0;
    const start = offset + BLOCK_BYTES;
    if (entry === name) return tar.subarray(start, start + size);
    offset = start + Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
  }
  throw new Error(`the archive has no ${name}`);
}
