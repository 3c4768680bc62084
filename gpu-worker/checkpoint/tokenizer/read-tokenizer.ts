// Reads and checks a checkpoint's tokenizer, for inspect, doctor, the worker and the command line alike.

import { createHash } from "node:crypto";
import { MAX_TEXT_LENGTH } from "@vqd/shared/limits.ts";
import { checkMerges } from "@vqd/shared/tokenizer/bpe.ts";
import { createSplitters, type TokenizerTables } from "@vqd/shared/tokenizer/clip.ts";
import { vocabularyText } from "@vqd/shared/tokenizer/announcement.ts";
import { CLIP_MERGES_SHA256, MAX_VOCABULARY } from "@vqd/shared/tokenizer/vocabulary.ts";
import { CheckpointError } from "../errors.ts";
import { announce } from "./announce.ts";
import type { CheckpointFolder } from "../files/folder.ts";
import { TOKENIZER_FILES } from "../model-files.ts";
import { listTokens } from "./list-tokens.ts";
import { type TokenName, tokenizerConfigSchema } from "./token-schemas.ts";
import { checked, readVocabularyFiles } from "./vocabulary-files.ts";

export interface TokenizerInfo {
  readonly tables: TokenizerTables;
  /** SHA-256 (hex) of the vocabulary's content, independent of the format of its files. */
  readonly vocabularySha256: string;
  /** What edges are told of the tokenizer, see shared/tokenizer/announcement.ts. */
  readonly announcement: Uint8Array;
  readonly padTokenId: number;
  readonly bosTokenId: number;
  readonly eosTokenId: number;
  /** Token ids the text encoder takes per prompt. */
  readonly maxLength: number;
}

/** Limits of the text encoder. */
export interface EncoderSizes {
  readonly vocab_size: number;
  readonly max_position_embeddings: number;
}

/** `encoder` is undefined if its config cannot be read. Throws a CheckpointError. */
export function readTokenizer(folder: CheckpointFolder, encoder: EncoderSizes | undefined): TokenizerInfo {
  const config = folder.json(TOKENIZER_FILES.config, tokenizerConfigSchema);
  const files = readVocabularyFiles(folder);
  const { tokens, named, isSplit } = listTokens(folder, config, files);
  const idOf = (name: TokenName): number => {
    const content = named.get(name)?.content;
    const id = tokens.find((token) => token.content === content)?.id;
    if (id !== undefined) return id;
    throw new CheckpointError(folder.path(TOKENIZER_FILES.config), `${name}: does not name a token`, {
      remedy: "correct it or fetch the tokenizer's files again",
    });
  };
  const unkTokenId = idOf("unk_token");
  const bosTokenId = idOf("bos_token");
  const eosTokenId = idOf("eos_token");
  const { post_processor: ends } = files.json ?? {};
  if (ends && (ends.cls[1] !== bosTokenId || ends.sep[1] !== eosTokenId)) {
    throw new CheckpointError(
      files.path,
      `post_processor: adds ${ends.cls[0]} and ${ends.sep[0]} instead of bos_token and eos_token`,
      { remedy: "correct tokenizer_config.json or tokenizer.json" },
    );
  }
  const size = files.ids.size + tokens.filter(({ content }) => !files.ids.has(content)).length;
  if (!files.isListed && encoder !== undefined && encoder.vocab_size !== size) {
    throw new CheckpointError(
      files.path,
      `the merges and the special and added tokens give ${size} ids, but the text encoder's vocab_size is ${encoder.vocab_size}`,
      { remedy: "fetch the file again, and vocab.json" },
    );
  }
  checkIds(folder, files.path, [...tokens, { id: files.ids.size - 1, content: "the last symbol" }], encoder);
  checked(files.path, () => checkMerges(files.vocabulary.merges, files.ids));
  const maxLength = Math.min(
    config.model_max_length ?? Infinity,
    // The tokenizer's limit can exceed the number of positions of the encoder.
    encoder?.max_position_embeddings ?? Infinity,
  );
  if (encoder !== undefined && maxLength > MAX_TEXT_LENGTH) {
    throw new CheckpointError(
      folder.path(TOKENIZER_FILES.config),
      `model_max_length: prompts would have ${maxLength} tokens; the limit is ${MAX_TEXT_LENGTH}`,
      { remedy: `set it to ${MAX_TEXT_LENGTH} or less` },
    );
  }
  const tables = {
    vocabulary: files.vocabulary,
    addedTokens: tokens.filter(isSplit),
    bosTokenId,
    eosTokenId,
    unkTokenId,
    ...(config.vqd?.keeps_end_token === true ? { keepsEnd: true } : {}),
  };
  checked(folder.path(TOKENIZER_FILES.config), () => createSplitters(tables.addedTokens));
  const vocabularySha256 = createHash("sha256").update(vocabularyText(files.vocabulary)).digest("hex");
  const announcement = announce(tables, vocabularySha256 === CLIP_MERGES_SHA256, files.path);
  return {
    tables,
    vocabularySha256,
    announcement,
    padTokenId: idOf("pad_token"),
    bosTokenId,
    eosTokenId,
    maxLength,
  };
}

/** Every id needs a row in the text encoder's embedding. */
function checkIds(
  folder: CheckpointFolder,
  path: string,
  tokens: readonly { readonly id: number; readonly content: string }[],
  encoder: EncoderSizes | undefined,
): void {
  const limit = Math.min(encoder?.vocab_size ?? Infinity, MAX_VOCABULARY);
  const beyond = tokens.find(({ id }) => id >= limit);
  if (beyond === undefined) return;
  throw new CheckpointError(
    path,
    `${JSON.stringify(beyond.content)} has id ${beyond.id}, but the text encoder's vocab_size is ${limit}`,
    {
      remedy: `take tokenizer and ${folder.path("text_encoder")} from the same model`,
    },
  );
}
