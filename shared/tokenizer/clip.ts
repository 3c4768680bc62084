// CLIP's tokenizer (openai/CLIP `simple_tokenizer`): cleaning, split pattern, byte-level BPE, bos and eos.

import { createBpe } from "./bpe.ts";
import { cleanText } from "./clean.ts";

const BOS = "<|startoftext|>";
const EOS = "<|endoftext|>";

/** CLIP's pattern; the text is lower case already. A digit is a token of its own. */
const WORDS =
  /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;

export interface PaddedTokens {
  /** Exactly `maxLength` ids. A prompt that is too long is cut and loses its eos, as in the reference. */
  readonly ids: number[];
  /** Tokens of the prompt with bos and eos, before the cut. */
  readonly tokenCount: number;
  readonly truncated: boolean;
}

export interface ClipTokenizer {
  /** Number of ids: 49,408 for CLIP's own merges. */
  readonly vocabularySize: number;
  /** All ids of `text`, from bos to eos. Never throws; a special token's spelling gives its id. */
  encode(text: string): number[];
  encodePadded(text: string, options: { maxLength: number; padTokenId: number }): PaddedTokens;
}

/**
 * Builds the tokenizer from a merges file (`#version` line optional), which takes some tens of ms: do it once.
 * Throws a RangeError if the file is no list of merges.
 */
export function createClipTokenizer(mergesText: string): ClipTokenizer {
  const bpe = createBpe(mergesText);
  const bos = bpe.size;
  const eos = bpe.size + 1;

  const encode = (text: string): number[] => {
    const ids = [bos];
    for (const [word] of cleanText(text).matchAll(WORDS)) {
      if (word === BOS) ids.push(bos);
      else if (word === EOS) ids.push(eos);
      else for (const id of bpe.encodeWord(word)) ids.push(id);
    }
    ids.push(eos);
    return ids;
  };

  const encodePadded = (
    text: string,
    { maxLength, padTokenId }: { maxLength: number; padTokenId: number },
  ): PaddedTokens => {
    const all = encode(text);
    const ids = Array.from({ length: maxLength }, (_, i) => all[i] ?? padTokenId);
    return { ids, tokenCount: all.length, truncated: all.length > maxLength };
  };

  return { vocabularySize: bpe.size + 2, encode, encodePadded };
}
