// Files that only this user may read.

import { renameSync, writeFileSync } from "node:fs";

/** Writes `path` with mode 0600, whole or not at all. */
export function writePrivateFile(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, text, { mode: 0o600 });
  renameSync(temporary, path);
}
