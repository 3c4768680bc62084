// The tokenizers of test/fixtures/tokenizer, completed with CLIP's tables, which the fixtures omit.

import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CheckpointFolder } from "../../gpu-worker/checkpoint/files/folder.ts";
import { readTokenizer, type TokenizerInfo } from "../../gpu-worker/checkpoint/tokenizer/read-tokenizer.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { temporaryFolder } from "./tiny.ts";

const FIXTURES = join(import.meta.dirname, "..", "fixtures", "tokenizer");
const CLIP = join(BUNDLED_MODEL, "tokenizer");

const readFixture = (name: string): unknown => JSON.parse(readFileSync(join(FIXTURES, name), "utf8"));

interface Reference {
  readonly made_with: Record<string, string>;
  /** Ids of each text of texts.json, by tokenizer. */
  readonly ids: Record<string, number[][]>;
}
export const reference = readFixture("reference.json") as Reference;
export const texts = readFixture("texts.json") as string[];

/** CLIP's merges.txt. */
export const clipMerges = readFileSync(join(CLIP, "merges.txt"), "utf8");

interface TokenizerJson {
  model: { vocab: Record<string, number>; merges: unknown[] };
}

/** A folder containing only the tokenizer `name`. Merges in tokenizer.json are pairs or, as before tokenizers 0.20, strings. */
export async function tokenizerFolder(name: string, merges: "pairs" | "strings" = "pairs"): Promise<string> {
  const dir = await temporaryFolder();
  const folder = join(dir, "tokenizer");
  cpSync(join(FIXTURES, name), folder, { recursive: true });
  const path = join(folder, "tokenizer.json");
  if (!existsSync(path)) {
    for (const table of ["merges.txt", "vocab.json"]) cpSync(join(CLIP, table), join(folder, table));
    return dir;
  }
  const json = JSON.parse(readFileSync(path, "utf8")) as TokenizerJson;
  if (json.model.merges.length === 0) {
    json.model.vocab = JSON.parse(readFileSync(join(CLIP, "vocab.json"), "utf8")) as Record<string, number>;
    json.model.merges = clipMerges
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => line.split(" "));
  }
  if (merges === "strings") json.model.merges = json.model.merges.map((pair) => (pair as string[]).join(" "));
  writeFileSync(path, JSON.stringify(json));
  return dir;
}

/** Reads it for a text encoder with room for all ids. */
export const readTokenizerOf = (dir: string): TokenizerInfo =>
  readTokenizer(new CheckpointFolder(dir), { vocab_size: 49_414, max_position_embeddings: 77 });
