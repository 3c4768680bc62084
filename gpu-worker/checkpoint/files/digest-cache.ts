// Digests of large files, remembered: a model of gigabytes takes longer to hash than to load.

import { createHash } from "node:crypto";
import { type BigIntStats, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { writeFileAtomic } from "../../util/write-file-atomic.ts";

/** Smaller files are hashed each time. */
const MIN_BYTES = 1024 * 1024;
/** A file changed this recently can change again without its times telling, which are as fine as the system's clock. */
const SETTLED_MS = 2_000;

interface Remembered {
  readonly path: string;
  /** What the system said of the file when it was hashed. */
  readonly identity: string;
  readonly digest: string;
}

/**
 * What changes whenever a file's content does. Its time of change (ctime) can be set by nobody, unlike the time of
 * modification.
 */
const identityOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  [dev, ino, size, mtimeNs, ctimeNs].join(":");

export class DigestCache {
  readonly #dir: string;

  /** Keeps one small file for each large one that it has seen, in `cacheDir`. */
  constructor(cacheDir: string) {
    this.#dir = join(cacheDir, "digests");
  }

  /** The digest of the file at `path`: the one remembered, if nothing of the file has changed since, or `hash(path)`. */
  digest(path: string, hash: (path: string) => string): string {
    const absolute = resolve(path);
    const before = statSync(absolute, { bigint: true });
    if (before.size < MIN_BYTES) return hash(absolute);
    const identity = identityOf(before);
    const place = join(this.#dir, `${createHash("sha256").update(absolute).digest("hex").slice(0, 24)}.json`);
    const known = read(place);
    if (known?.path === absolute && known.identity === identity) return known.digest;
    const digest = hash(absolute);
    const isSettled = Number(before.ctimeNs / 1_000_000n) < Date.now() - SETTLED_MS;
    if (isSettled && identityOf(statSync(absolute, { bigint: true })) === identity) {
      remember(place, { path: absolute, identity, digest });
    }
    return digest;
  }
}

function read(place: string): Remembered | undefined {
  try {
    return JSON.parse(readFileSync(place, "utf8")) as Remembered;
  } catch {
    // Not there, or cut short: hashing the file is always right.
    return undefined;
  }
}

function remember(place: string, remembered: Remembered): void {
  try {
    writeFileAtomic(place, JSON.stringify(remembered));
  } catch {
    // A cache that cannot be written, as one in a read-only image, costs the next start the time of hashing.
  }
}
