// What tests have to know of the bundled model, from its own files.

import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { BUNDLED_MODEL } from "../../../infra/stack/paths.ts";

const size = (part: string): number =>
  (JSON.parse(readFileSync(join(BUNDLED_MODEL, part, "config.json"), "utf8")) as { sample_size: number })
    .sample_size;

export const BUNDLED = {
  name: `vqd/${basename(BUNDLED_MODEL)}`,
  /** Of an image, in pixels. */
  side: size("vqvae"),
  /** Latent pixels of an image. */
  tokens: size("transformer") ** 2,
} as const;
