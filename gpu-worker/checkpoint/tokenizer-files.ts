// The tokenizer of a checkpoint: CLIP's merges and what text is padded with.

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { specialTokensSchema, tokenizerConfigSchema } from "./config.ts";
import { CheckpointError } from "./errors.ts";
import { readJson } from "./json.ts";

/** CLIP's vocabulary: 256 bytes, 256 bytes that end a word, the merges, and these two. */
const BOS_TOKEN = "<|startoftext|>";
const EOS_TOKEN = "<|endoftext|>";
const BOS_TOKEN_ID = 49_406;
const EOS_TOKEN_ID = 49_407;

export interface TokenizerInfo {
  readonly mergesPath: string;
  readonly mergesSha256: string;
  readonly padTokenId: number;
  readonly bosTokenId: number;
  readonly eosTokenId: number;
  /** Token ids the text encoder takes per prompt. */
  readonly maxLength: number;
}

/** `positions` is how many the text encoder has; throws a CheckpointError. */
export function readTokenizer(dir: string, positions: number): TokenizerInfo {
  const folder = join(dir, "tokenizer");
  const mergesPath = join(folder, "merges.txt");
  if (!existsSync(mergesPath)) throw new CheckpointError(mergesPath, "the file is missing");
  const config = readJson(join(folder, "tokenizer_config.json"), tokenizerConfigSchema);
  const special = existsSync(join(folder, "special_tokens_map.json"))
    ? readJson(join(folder, "special_tokens_map.json"), specialTokensSchema)
    : {};
  return {
    mergesPath,
    mergesSha256: createHash("sha256").update(readFileSync(mergesPath)).digest("hex"),
    padTokenId: tokenId(folder, special.pad_token ?? config.pad_token ?? EOS_TOKEN),
    bosTokenId: BOS_TOKEN_ID,
    eosTokenId: EOS_TOKEN_ID,
    // The tokenizer's own limit can be larger than what the encoder has positions for.
    maxLength: Math.min(config.model_max_length ?? Infinity, positions),
  };
}

/** The published checkpoint pads with "!" (id 0), CLIP's own config with the end of text. */
function tokenId(folder: string, token: string): number {
  if (token === BOS_TOKEN) return BOS_TOKEN_ID;
  if (token === EOS_TOKEN) return EOS_TOKEN_ID;
  const path = join(folder, "vocab.json");
  const vocabulary = readJson(path, z.record(z.string(), z.int().min(0)));
  const id = vocabulary[token];
  if (id === undefined)
    throw new CheckpointError(path, `the pad token ${JSON.stringify(token)} is not in it`);
  return id;
}
