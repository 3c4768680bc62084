// Writes small files that several processes may write at the same time.

import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Writes `path`, creating its folder if necessary, so that a reader sees either all of `data` or the previous content:
 * each process writes a file of its own and renames it once it is complete.
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
