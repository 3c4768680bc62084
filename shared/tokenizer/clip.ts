// CLIP's tokenizer as in transformers: added tokens, normalization, split pattern, byte-level BPE, bos and eos.

import { type AddedToken, createSplitter } from "./added-tokens.ts";
import { type Bpe, createBpe } from "./bpe.ts";
import { mendText } from "./mend.ts";
import { BYTE_CHARS, parseMerges, type Vocabulary } from "./vocabulary.ts";

export const BOS_TOKEN = "<|startoftext|>";
export const EOS_TOKEN = "<|endoftext|>";

/** CLIP's pattern, for lower-cased text. Each digit is a word. */
const WORDS =
  /<\|(?:startoftext|endoftext)\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;
/** How the byte-level step splits these spellings when they are not added tokens. */
const NO_SPECIAL = /^(<\|)(startoftext|endoftext)(\|>)$/;

const WHITE_SPACE = /\p{White_Space}+/gu;

export interface TokenizerTables {
  readonly vocabulary: Vocabulary;
  /** Special and other added tokens: their spelling in a text gives their id. */
  readonly addedTokens: readonly AddedToken[];
  readonly bosTokenId: number;
  readonly eosTokenId: number;
  /** Used for bytes missing from the vocabulary. */
  readonly unkTokenId: number;
  /** Whether a prompt that is cut keeps its eos as the last token, as in openai/CLIP; in the reference it loses it [false]. */
  readonly keepsEnd?: boolean | undefined;
}

export interface PaddedTokens {
  /** Exactly `maxLength` ids. A prompt that is too long is cut; see `TokenizerTables.keepsEnd`. */
  readonly ids: number[];
  /** Tokens of the prompt with bos and eos, before the cut. */
  readonly tokenCount: number;
  readonly truncated: boolean;
}

export interface ClipTokenizer {
  /** All ids of `text`, from bos to eos. Never throws. */
  encode(text: string): number[];
  encodePadded(text: string, options: { maxLength: number; padTokenId: number }): PaddedTokens;
}

export interface TokenizerOptions {
  /**
   * Whether text goes through `mendText` first, as in CLIP's training and in transformers 4 with ftfy installed; transformers
   * 5 does without [true].
   */
  readonly mend?: boolean;
  /** An encoder of the same vocabulary, to share between tokenizers. */
  readonly bpe?: Bpe;
}

/**
 * Builds the tokenizer. Without `bpe` this takes tens of milliseconds, so do it once. Throws a VocabularyError for an invalid
 * vocabulary.
 */
export function createClipTokenizer(tables: TokenizerTables, options: TokenizerOptions = {}): ClipTokenizer {
  const { addedTokens, bosTokenId, eosTokenId, unkTokenId, keepsEnd = false } = tables;
  const { mend = true, bpe = createBpe(tables.vocabulary, unkTokenId) } = options;
  const { splitRaw, splitNormalized } = createSplitters(addedTokens);

  const encode = (text: string): number[] => {
    const ids = [bosTokenId];
    for (const raw of splitRaw(text.toWellFormed())) {
      if (typeof raw === "number") ids.push(raw);
      else {
        for (const piece of splitNormalized(normalize(mend ? mendText(raw) : raw))) {
          if (typeof piece === "number") ids.push(piece);
          else for (const word of wordsOf(piece)) for (const id of bpe.encodeWord(word)) ids.push(id);
        }
      }
    }
    ids.push(eosTokenId);
    return ids;
  };

  const encodePadded = (
    text: string,
    { maxLength, padTokenId }: { maxLength: number; padTokenId: number },
  ): PaddedTokens => {
    const all = encode(text);
    const ids = Array.from({ length: maxLength }, (_, i) => all[i] ?? padTokenId);
    const truncated = all.length > maxLength;
    if (truncated && keepsEnd) ids[maxLength - 1] = eosTokenId;
    return { ids, tokenCount: all.length, truncated };
  };

  return { encode, encodePadded };
}

/** Splitters for the raw and the normalized text. Throws a VocabularyError if two tokens are spelled alike. */
export function createSplitters(addedTokens: readonly AddedToken[]) {
  return {
    splitRaw: createSplitter(
      addedTokens.filter(({ normalized }) => !normalized),
      (content) => content,
    ),
    splitNormalized: createSplitter(
      addedTokens.filter(({ normalized }) => normalized),
      normalize,
    ),
  };
}

/** NFC, runs of white space as one space, lower case. Case is mapped letter by letter: a final sigma is not special. */
function normalize(text: string): string {
  return text.normalize("NFC").replace(WHITE_SPACE, " ").replaceAll("\u03a3", "\u03c3").toLowerCase();
}

function* wordsOf(text: string): Generator<string> {
  for (const [word] of text.matchAll(WORDS)) {
    const parts = word.startsWith("<|") ? NO_SPECIAL.exec(word) : null;
    if (parts === null) yield word;
    else yield* parts.slice(1);
  }
}

const plain = { lstrip: false, rstrip: false, singleWord: false };

/**
 * CLIP's own tokenizer, from its merges file; the default for models that announce nothing else. With `padTokenId` 0 the pad
 * token is "!", as in the published checkpoint, and is matched as a special token.
 */
export function clipTables(mergesText: string, padTokenId?: number): TokenizerTables {
  const merges = parseMerges(mergesText);
  const bosTokenId = 2 * BYTE_CHARS.length + merges.length;
  const eosTokenId = bosTokenId + 1;
  return {
    vocabulary: { merges },
    addedTokens: [
      { id: bosTokenId, content: BOS_TOKEN, ...plain, normalized: true },
      { id: eosTokenId, content: EOS_TOKEN, ...plain, normalized: true },
      ...(padTokenId === 0 ? [{ id: 0, content: "!", ...plain, normalized: false }] : []),
    ],
    bosTokenId,
    eosTokenId,
    unkTokenId: eosTokenId,
  };
}
