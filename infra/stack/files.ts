// Files and folders that only this user may read.

import { chmodSync, mkdirSync, renameSync, writeFileSync } from "node:fs";

/** Writes `path` atomically, with mode 0600. */
export function writePrivateFile(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, text, { mode: 0o600 });
  renameSync(temporary, path);
}

/** Creates the folder if necessary, closes it to other users, and returns its path. */
export function privateFolder(path: string): string {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  chmodSync(path, 0o700);
  return path;
}
