// Small files that several processes may write at the same time.

import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Writes `path`, and its folder if there is none, so that a reader sees all of `data` or what was there before: each
 * process writes a file of its own and gives it the name when it is whole.
 */
export function writeFileAtomic(path: string, data: string | Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  const own = `${path}.tmp-${process.pid}`;
  try {
    writeFileSync(own, data);
    renameSync(own, path);
  } finally {
    rmSync(own, { force: true });
  }
}
