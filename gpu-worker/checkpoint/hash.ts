// The identity of a checkpoint: one hash over the files that decide what it computes.

import { createHash, type Hash } from "node:crypto";
import { closeSync, existsSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import type { DigestCache } from "./digest-cache.ts";

/** Weights, configs and the tokenizer's tables; a README decides nothing. */
const HASHED_FILES = /\.(?:json|txt|safetensors|bin)$/;
/** Weight files can be larger than what Node reads at once (2 GiB), and than what memory should hold. */
const CHUNK_BYTES = 4 * 1024 * 1024;

/**
 * SHA-256, hex, over names and contents of the files directly in `folder` and in its `components`, in order of
 * their names. What else lies in the folder, such as a downloader's notes, does not count. `digests` spares reading
 * what has been read before.
 */
export function hashCheckpoint(folder: string, components: readonly string[], digests?: DigestCache): string {
  const listed = ["", ...components].flatMap((component) =>
    existsSync(join(folder, component))
      ? readdirSync(join(folder, component)).map((file) => (component === "" ? file : `${component}/${file}`))
      : [],
  );
  const total = createHash("sha256");
  const chunk = new Uint8Array(CHUNK_BYTES);
  const hash = (path: string): string => updateFromFile(createHash("sha256"), path, chunk).digest("hex");
  for (const file of listed.filter((name) => HASHED_FILES.test(name)).toSorted()) {
    const path = join(folder, file);
    const digest = digests === undefined ? hash(path) : digests.digest(path, hash);
    total.update(`${file}\0${digest}\n`);
  }
  return total.digest("hex");
}

function updateFromFile(hash: Hash, path: string, chunk: Uint8Array): Hash {
  const fd = openSync(path, "r");
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
