// CLIP's vocabulary, built at start-up, and the tokenizers of models that announce nothing else.

import { type Bpe, createBpe } from "@vqd/shared/tokenizer/bpe.ts";
import { type ClipTokenizer, clipTables, createClipTokenizer } from "@vqd/shared/tokenizer/clip.ts";
import merges from "@vqd/shared/tokenizer/clip-merges.txt";

const { vocabulary, eosTokenId } = clipTables(merges);

export const CLIP_VOCABULARY = vocabulary;
export const CLIP_VOCABULARY_SIZE = eosTokenId + 1;
export const CLIP_BPE: Bpe = createBpe(vocabulary, eosTokenId);

/** CLIP's own tokenizer, with the special tokens that the pad token implies. */
export const clipTokenizer = (padTokenId: number): ClipTokenizer =>
  createClipTokenizer(clipTables(merges, padTokenId), { bpe: CLIP_BPE });
