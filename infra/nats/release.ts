// Downloads the official nats-server release, checks it against a pinned SHA-256, and unpacks it.

import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

const DOWNLOAD_TIMEOUT_MS = 180_000;

/**
 * The pinned version for each platform, with the SHA-256 of `nats-server-v<version>-<platform>.tar.gz` from that release's
 * SHA256SUMS: the Linux values as in the Dockerfiles of nats-io/nats-docker, the macOS value as pinned by a third party, without a
 * second source. darwin-amd64 is missing because no published value was available; never add one that was computed from a download.
 */
const PINNED: Readonly<Record<string, { readonly version: string; readonly sha256: string }>> = {
  "linux-amd64": {
    version: "2.14.5",
    sha256: "5e3b603d47c447bda1f77f9ac16dbf91c90aac4ff3681f8fbbc7201e4ed99355",
  },
  "linux-arm64": {
    version: "2.14.5",
    sha256: "673a98d3faa79dde3f9ebf16d6dfac36a5f694e7ad2015e4954dd7939c85cd4c",
  },
  "linux-arm7": {
    version: "2.14.5",
    sha256: "c8796b63a8603fdebabd63146ac3d3997c29a2829fdd2af6db320f4a287f2e71",
  },
  "linux-s390x": {
    version: "2.14.5",
    sha256: "829193e8c592e0df5f15402c27417df18d26503d22b77dfc9491982fe0b51a67",
  },
  "linux-ppc64le": {
    version: "2.14.5",
    sha256: "5d8f1a264a3bc4b30899814ae8e898b1268e817074635adddd24b32f388e4cc4",
  },
  "darwin-arm64": {
    version: "2.11.17",
    sha256: "e17d11c5e9cb0824e003013304ba3d96ca24adbff9998084c746869c0347be9b",
  },
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
  readonly version: string;
  readonly url: string;
  readonly sha256: string;
}

export type Download = (url: string) => Promise<Uint8Array>;

/** The pinned release for a platform and architecture as Node names them, or undefined if there is no checksum for it. */
export function releaseFor(platform: string, arch: string): Release | undefined {
  const key = `${platform}-${GO_ARCH[arch] ?? arch}`;
  const pinned = PINNED[key];
  if (pinned === undefined) return undefined;
  const { version, sha256 } = pinned;
  const name = `nats-server-v${version}-${key}`;
  const url = `https://github.com/nats-io/nats-server/releases/download/v${version}/${name}.tar.gz`;
  return { name, version, url, sha256 };
}

/** Fetches, verifies and unpacks the release into `binDir`; returns the path of the executable. */
export async function installRelease(
  release: Pick<Release, "name" | "url" | "sha256">,
  binDir: string,
  download: Download = fetchBytes(DOWNLOAD_TIMEOUT_MS),
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

/** Gives up after `timeoutMs`. */
export const fetchBytes =
  (timeoutMs: number): Download =>
  async (url) => {
    const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) });
    if (!response.ok) throw new Error(`${url} answered ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };

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
