// A model's tokenizer as its worker announces it: gzipped JSON, attached to the manifest.

import { z } from "zod";
import { decompress } from "../decompress.ts";
import { addedTokenSchema, MAX_ADDED_TOKENS } from "./added-tokens.ts";
import type { ClassLabels } from "./class-labels.ts";
import type { TokenizerTables } from "./clip.ts";
import { canonicalMerges, isMerge, MAX_VOCABULARY, type Vocabulary } from "./vocabulary.ts";

/** Compressed size; a vocabulary of CLIP's size has 210 kB. A message of NATS has 1 MiB by default. */
export const MAX_TOKENIZER_BYTES = 768 * 1024;
export const MAX_TOKENIZER_JSON_BYTES = 4 * 1024 * 1024;
const MAX_REASONS = 500;

/** Stops at the first wrong entry, and says no more than that: a hostile list may have millions. */
const list = (what: string, isEntry: (entry: string) => boolean): z.ZodType<string[]> =>
  z.custom<string[]>(
    (value) =>
      Array.isArray(value) &&
      value.length <= MAX_VOCABULARY &&
      value.every((entry) => typeof entry === "string" && isEntry(entry)),
    `must be a list of at most ${MAX_VOCABULARY} ${what}`,
  );
const tokenId = z
  .int()
  .min(0)
  .max(MAX_VOCABULARY - 1);

const announcementSchema = z.strictObject({
  v: z.literal(1),
  /** Null for CLIP's, which edges have. */
  vocabulary: z
    .strictObject({
      merges: list("pairs of symbols", isMerge),
      symbols: list("symbols", (symbol) => symbol !== "").optional(),
    })
    .nullable(),
  addedTokens: z.array(z.unknown()).max(MAX_ADDED_TOKENS).pipe(z.array(addedTokenSchema)),
  bosTokenId: tokenId,
  eosTokenId: tokenId,
  unkTokenId: tokenId,
  /** See `TokenizerTables`; edges of earlier releases refuse it. [false] */
  keepsEnd: z.boolean().optional(),
});
export type TokenizerAnnouncement = z.infer<typeof announcementSchema>;

/** Labels are sent as token ids. */
export const MAX_CLASSES = 65_536;
const MAX_CLASS_NAME = 400;

/** What a model that is conditioned by class has in place of a tokenizer: its classes, some or all with names. */
const classesSchema = z.strictObject({
  v: z.literal(1),
  classes: z.int().min(1).max(MAX_CLASSES),
  names: z.custom<[number, string][]>(
    (value) => Array.isArray(value) && value.length <= MAX_CLASSES && value.every(isNamedLabel),
    `must be a list of at most ${MAX_CLASSES} labels with names`,
  ),
});
export type ClassesAnnouncement = z.infer<typeof classesSchema>;

const isNamedLabel = (entry: unknown): boolean =>
  Array.isArray(entry) &&
  entry.length === 2 &&
  Number.isInteger(entry[0]) &&
  entry[0] >= 0 &&
  typeof entry[1] === "string" &&
  entry[1] !== "" &&
  entry[1].length <= MAX_CLASS_NAME;

export const classesJson = ({ count, names }: ClassLabels): string =>
  JSON.stringify({ v: 1, classes: count, names: [...names] } satisfies ClassesAnnouncement);

/** What the hash of a model's classes is computed over. */
export const classesText = ({ count, names }: ClassLabels): string => JSON.stringify([count, ...names]);

/** The JSON to compress. `isClip` says that the vocabulary is CLIP's. */
export function announcementJson({ vocabulary, ...rest }: TokenizerTables, isClip: boolean): string {
  const announcement: TokenizerAnnouncement = {
    v: 1,
    vocabulary: isClip ? null : { merges: [...vocabulary.merges], symbols: vocabulary.symbols?.slice() },
    ...rest,
    addedTokens: [...rest.addedTokens],
  };
  return JSON.stringify(announcement);
}

/** Decodes an attachment. Throws an Error that says what is wrong, also for one that decompresses to too much. */
export async function decodeAnnouncement(
  bytes: Uint8Array<ArrayBuffer>,
): Promise<TokenizerAnnouncement | ClassesAnnouncement> {
  if (bytes.length > MAX_TOKENIZER_BYTES) {
    throw new Error(`tokenizer: has ${bytes.length} bytes; the limit is ${MAX_TOKENIZER_BYTES}`);
  }
  return parseAnnouncement(await gunzip(bytes));
}

/** The decompressed form. Throws an Error that says what is wrong. */
export function parseAnnouncement(text: string): TokenizerAnnouncement | ClassesAnnouncement {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new Error("tokenizer: not JSON", { cause });
  }
  const isOfClasses = typeof json === "object" && json !== null && "classes" in json;
  const parsed = isOfClasses ? classesSchema.safeParse(json) : announcementSchema.safeParse(json);
  if (!parsed.success) {
    const reasons = parsed.error.issues.map(({ path, message }) => [...path, message].join(": "));
    throw new Error(`tokenizer: ${reasons.join("; ").slice(0, MAX_REASONS)}`);
  }
  return parsed.data;
}

async function gunzip(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    const decoded = await decompress(bytes, "gzip", MAX_TOKENIZER_JSON_BYTES);
    if (decoded !== undefined) return decoder.decode(decoded);
  } catch (cause) {
    throw new Error("tokenizer: cannot be decompressed", { cause });
  }
  throw new Error(`tokenizer: decompresses to more than the limit of ${MAX_TOKENIZER_JSON_BYTES} bytes`);
}

/** What the hash of a vocabulary is computed over. If ids can be derived from the merges, the merges alone decide it. */
export const vocabularyText = ({ merges, symbols: listed }: Vocabulary): string =>
  canonicalMerges(merges) + (listed === undefined ? "" : JSON.stringify(listed));
