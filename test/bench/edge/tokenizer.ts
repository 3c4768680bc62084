// How many prompts the edge's tokenizer takes in a second.

import { clipTables, createClipTokenizer } from "@vqd/shared/tokenizer/clip.ts";
import { CLIP_MERGES } from "./clip.ts";

const PROMPTS = 20_000;
const WORDS =
  "a an the red blue small ancient watercolour painting portrait lighthouse forest robot astronaut cat in of with on under dramatic soft light detailed minimalistic 4k trending sunset mountains neon isometric".split(
    " ",
  );
const WORDS_PER_PROMPT = 14;

export interface TokenizerReport {
  /** Making it, which every start of the edge does, ms. */
  readonly setup_ms: number;
  readonly prompts_per_second: number;
  /** Of prompts whose words are all new, so that nothing is remembered of them. */
  readonly unseen_prompts_per_second: number;
}

/** Not random, so that every run takes the same. */
function prompt(index: number, isUnseen: boolean): string {
  return Array.from({ length: WORDS_PER_PROMPT }, (_, i) => {
    const word = WORDS[(index * 31 + i * i * 7 + i) % WORDS.length] ?? "";
    return isUnseen ? `${word}${(index * WORDS_PER_PROMPT + i).toString(36)}` : word;
  }).join(" ");
}

export function measureTokenizer(): TokenizerReport {
  const startedAt = performance.now();
  const tokenizer = createClipTokenizer(clipTables(CLIP_MERGES));
  const setupMs = performance.now() - startedAt;
  const rate = (isUnseen: boolean): number => {
    const prompts = Array.from({ length: PROMPTS }, (_, i) => prompt(i, isUnseen));
    const begin = performance.now();
    for (const text of prompts) tokenizer.encodePadded(text, { maxLength: 77, padTokenId: 0 });
    return Math.round(PROMPTS / ((performance.now() - begin) / 1_000));
  };
  rate(false);
  return {
    setup_ms: Math.round(setupMs),
    prompts_per_second: rate(false),
    unseen_prompts_per_second: rate(true),
  };
}
