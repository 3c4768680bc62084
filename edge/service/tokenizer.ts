// The edge's tokenizers: CLIP's vocabulary, built at start-up, with each model's special tokens.

import { createBpe } from "@vqd/shared/tokenizer/bpe.ts";
import { type ClipTokenizer, clipTables, createClipTokenizer } from "@vqd/shared/tokenizer/clip.ts";
import merges from "@vqd/shared/tokenizer/clip-merges.txt";

const { vocabulary, eosTokenId } = clipTables(merges);
const bpe = createBpe(vocabulary, eosTokenId);
const byPadToken = new Map<number, ClipTokenizer>();

export const VOCABULARY_SIZE = eosTokenId + 1;

/** The tokenizer for a model with CLIP's vocabulary and this pad token. */
export function tokenizerFor(padTokenId: number): ClipTokenizer {
  let tokenizer = byPadToken.get(padTokenId);
  if (tokenizer === undefined) {
    tokenizer = createClipTokenizer(clipTables(merges, padTokenId), { bpe });
    byPadToken.set(padTokenId, tokenizer);
  }
  return tokenizer;
}
