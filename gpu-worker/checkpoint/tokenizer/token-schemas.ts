// Schemas of the tokenizer files that the various versions of transformers write.

import { MAX_ADDED_TOKENS } from "@vqd/shared/tokenizer/added-tokens.ts";
import { z } from "zod";

/** The text encoder needs a start and an end token. */
export const MIN_TEXT_LENGTH = 2;

const flags = {
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  single_word: z.boolean().default(false),
  /** By default, true for tokens that are not special. */
  normalized: z.boolean().nullish(),
  special: z.boolean().default(false),
};
const tokenObjectSchema = z.object({ content: z.string(), ...flags });
/** A token is a string or, with flags, an object. */
export const tokenSchema = z
  .union([z.string(), tokenObjectSchema])
  .transform((token) => (typeof token === "string" ? tokenObjectSchema.parse({ content: token }) : token));
export type TokenFields = z.infer<typeof tokenObjectSchema>;

const named = {
  bos_token: tokenSchema.nullish(),
  eos_token: tokenSchema.nullish(),
  unk_token: tokenSchema.nullish(),
  sep_token: tokenSchema.nullish(),
  pad_token: tokenSchema.nullish(),
  cls_token: tokenSchema.nullish(),
  mask_token: tokenSchema.nullish(),
};
export type TokenName = keyof typeof named;
/** In transformers' order, which decides the ids of those missing from the vocabulary. */
export const TOKEN_NAMES = Object.keys(named) as TokenName[];

const list = z.array(tokenSchema).max(MAX_ADDED_TOKENS);
const extra = {
  additional_special_tokens: list.nullish(),
  extra_special_tokens: z
    .union([list, z.record(z.string(), tokenSchema).transform((tokens) => Object.values(tokens))])
    .nullish(),
};

export const specialTokensSchema = z.object({ ...named, ...extra });
export type SpecialTokens = z.infer<typeof specialTokensSchema>;

export const tokenizerConfigSchema = z.object({
  ...named,
  ...extra,
  // transformers writes 1e30 for none, which is an integer but no safe one.
  model_max_length: z.number().min(MIN_TEXT_LENGTH).refine(Number.isInteger, "is not an integer").optional(),
  /** Padding on the left is not implemented. */
  padding_side: z.literal("right").optional(),
  split_special_tokens: z.boolean().default(false),
  /** What vqd reads beyond transformers: whether a prompt that is cut keeps its end token, as in openai/CLIP. */
  vqd: z.strictObject({ keeps_end_token: z.boolean().default(false) }).optional(),
  added_tokens_decoder: z.record(z.string().regex(/^\d{1,6}$/, "not an id"), tokenObjectSchema).optional(),
});
export type TokenizerConfig = z.infer<typeof tokenizerConfigSchema>;

export const addedTokensSchema = z.record(z.string(), z.int().min(0));

const isPair = (merge: unknown): boolean =>
  Array.isArray(merge) && merge.length === 2 && merge.every((symbol) => typeof symbol === "string");

const token = z.tuple([z.string(), z.int()]);
/** Checked by hand: with 50,000 entries zod's record takes ten times as long. */
export const vocabularySchema = z.custom<Record<string, number>>(
  (value) =>
    typeof value === "object" &&
    value !== null &&
    Object.values(value).every((id) => Number.isInteger(id) && (id as number) >= 0),
  "expected ids by symbol",
);

/** The parts of `tokenizer.json` that transformers' CLIPTokenizer uses; it builds the rest itself. */
export const tokenizerJsonSchema = z.object({
  added_tokens: z.array(tokenObjectSchema.extend({ id: z.int().min(0) })).default([]),
  post_processor: z.object({ type: z.literal("RobertaProcessing"), sep: token, cls: token }).nullish(),
  model: z.object({
    type: z.literal("BPE").optional(),
    vocab: vocabularySchema,
    merges: z.custom<(string | string[])[]>(
      (value) => Array.isArray(value) && value.every((merge) => typeof merge === "string" || isPair(merge)),
      "expected pairs of symbols",
    ),
  }),
});
export type TokenizerJson = z.infer<typeof tokenizerJsonSchema>;
