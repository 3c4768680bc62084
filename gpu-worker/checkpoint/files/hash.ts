// Hashes the files of a checkpoint.

import { createHash, type Hash } from "node:crypto";
import { closeSync, readSync } from "node:fs";
import type { DigestCache } from "./digest-cache.ts";
import type { CheckpointFolder } from "./folder.ts";
import { onDisk, openFile } from "./open.ts";

/** Weight files can exceed the largest read that Node allows (2 GiB), and memory. */
const CHUNK_BYTES = 4 * 1024 * 1024;

/**
 * SHA-256 (hex) of names and contents of `files`, in order of their names. `digests` avoids reading unchanged files again.
 * Throws a CheckpointError for a file that cannot be read.
 */
export function hashFiles(folder: CheckpointFolder, files: readonly string[], digests?: DigestCache): string {
  const total = createHash("sha256");
  const chunk = new Uint8Array(CHUNK_BYTES);
  const hash = (path: string): string => updateFromFile(createHash("sha256"), path, chunk).digest("hex");
  for (const file of files.toSorted()) {
    const path = folder.path(file);
    const digest = onDisk(path, () => (digests === undefined ? hash(path) : digests.digest(path, hash)));
    total.update(`${file}\0${digest}\n`);
  }
  return total.digest("hex");
}

function updateFromFile(hash: Hash, path: string, chunk: Uint8Array): Hash {
  const fd = openFile(path);
  try {
    for (;;) {
      const bytes = readSync(fd, chunk);
      if (bytes === 0) return hash;
      hash.update(chunk.subarray(0, bytes));
    }
  } finally {
    closeSync(fd);
  }
}
