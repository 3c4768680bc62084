// Reads the tokenizer's vocabulary from tokenizer.json, or from merges.txt and vocab.json.

import { BOS_TOKEN, EOS_TOKEN } from "@vqd/shared/tokenizer/clip.ts";
import {
  derivedSymbols,
  indexSymbols,
  joinMerges,
  MAX_VOCABULARY,
  parseMerges,
  type Vocabulary,
  VocabularyError,
} from "@vqd/shared/tokenizer/vocabulary.ts";
import { CheckpointError, FETCH_AGAIN } from "../errors.ts";
import type { CheckpointFolder } from "../files/folder.ts";
import { unreadable } from "../files/mistaken.ts";
import { TOKENIZER_FILES } from "../model-files.ts";
import { tokenizerJsonSchema, type TokenizerJson, vocabularySchema } from "./token-schemas.ts";

const { merges: MERGES, vocab: VOCAB, json: TOKENIZER_JSON } = TOKENIZER_FILES;

/** CLIP's largest table has 3.6 MB. */
const MAX_TABLE_BYTES = 32 * 1024 * 1024;

export interface VocabularyFiles {
  readonly vocabulary: Vocabulary;
  /** Ids of all symbols, including special tokens. Added tokens get the ids after these. */
  readonly ids: ReadonlyMap<string, number>;
  /** Whether a file lists the ids; otherwise they are derived from the merges. */
  readonly isListed: boolean;
  /** The file it was read from, for error messages. */
  readonly path: string;
  readonly json: TokenizerJson | undefined;
}

/**
 * Prefers tokenizer.json, like transformers. If no file lists the ids, they are derived from the merges, followed by the
 * start and end tokens. Throws a CheckpointError.
 */
export function readVocabularyFiles(folder: CheckpointFolder): VocabularyFiles {
  const json = folder.has(TOKENIZER_JSON)
    ? folder.json(TOKENIZER_JSON, tokenizerJsonSchema, MAX_TABLE_BYTES)
    : undefined;
  if (json === undefined && !folder.has(MERGES)) {
    throw new CheckpointError(folder.path(MERGES), "the file is missing, and there is no tokenizer.json", {
      remedy: "fetch either file",
    });
  }
  const plain = folder.has(MERGES) ? readMerges(folder) : undefined;
  const path = folder.path(json === undefined ? MERGES : TOKENIZER_JSON);
  const merges = json === undefined ? (plain ?? []) : checked(path, () => joinMerges(json.model.merges));
  if (plain !== undefined && plain.join("\n") !== merges.join("\n")) {
    throw new CheckpointError(folder.path(MERGES), "its merges differ from those in tokenizer.json", {
      remedy: "remove the file that does not belong to the model",
    });
  }
  const derived = derivedSymbols(merges);
  const listed = json?.model.vocab ?? readVocab(folder);
  const symbols =
    listed === undefined
      ? [...derived, BOS_TOKEN, EOS_TOKEN]
      : inOrder(folder.path(json === undefined ? VOCAB : TOKENIZER_JSON), listed);
  // Ids that can be derived from the merges, like CLIP's, need not be listed.
  const isDerived = derived.every((symbol, id) => symbols[id] === symbol);
  const vocabulary = isDerived ? { merges } : { merges, symbols };
  const ids = checked(path, () => indexSymbols({ merges, symbols }));
  return { vocabulary, ids, isListed: listed !== undefined, path, json };
}

function readMerges(folder: CheckpointFolder): string[] {
  const text = folder.text(MERGES, MAX_TABLE_BYTES);
  const merges = checked(folder.path(MERGES), () => parseMerges(text));
  if (merges.length === 0) throw unreadable(folder.path(MERGES), "contains no merges");
  return merges;
}

const readVocab = (folder: CheckpointFolder): Record<string, number> | undefined =>
  folder.has(VOCAB) ? folder.json(VOCAB, vocabularySchema, MAX_TABLE_BYTES) : undefined;

/** Symbols by id. Throws a CheckpointError unless ids are consecutive from 0. */
function inOrder(path: string, ids: Readonly<Record<string, number>>): string[] {
  const { length } = Object.keys(ids);
  const fail = (reason: string): CheckpointError =>
    new CheckpointError(path, reason, { remedy: FETCH_AGAIN });
  if (length > MAX_VOCABULARY) {
    throw fail(`has ${length} symbols; the limit is ${MAX_VOCABULARY}`);
  }
  const symbols: (string | undefined)[] = Array.from({ length }, () => undefined);
  for (const [symbol, id] of Object.entries(ids)) {
    if (id >= length) throw fail(`${JSON.stringify(symbol)} has id ${id} of ${length} symbols`);
    if (symbols[id] !== undefined) {
      throw fail(`${JSON.stringify(symbols[id])} and ${JSON.stringify(symbol)} have the same id ${id}`);
    }
    symbols[id] = symbol;
  }
  return symbols.filter((symbol) => symbol !== undefined);
}

/** Turns a VocabularyError into a CheckpointError for `path`. */
export function checked<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof VocabularyError)) throw error;
    throw unreadable(path, error.message, { cause: error });
  }
}
