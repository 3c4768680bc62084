// The vocabulary of a byte-level BPE tokenizer: its merges and the ids of its symbols.

export const END_OF_WORD = "</w>";
/** Token ids are sent as uint16. */
export const MAX_VOCABULARY = 65_536;

/** SHA-256 of `canonicalMerges` for CLIP's vocabulary. */
export const CLIP_MERGES_SHA256 = "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a";

export interface Vocabulary {
  /** `left right` pairs, highest priority first. */
  readonly merges: readonly string[];
  /** The symbol of each id. If absent, ids are derived from the merges, as in CLIP's vocabulary. */
  readonly symbols?: readonly string[] | undefined;
}

/** Thrown for an invalid vocabulary; the message says where the error is. */
export class VocabularyError extends Error {
  override readonly name = "VocabularyError";
}

/** Printable Latin-1: ASCII 0x21 .. 0x7e, then 0xa1 .. 0xff without the soft hyphen. */
const isPrintable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;

/**
 * GPT-2's table of the characters that represent bytes, in vocabulary order: printable Latin-1 bytes, as themselves, come
 * first; the others follow as U+0100, U+0101, ...
 */
export const BYTE_CHARS: readonly { readonly byte: number; readonly char: string }[] = (() => {
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const printable = bytes.filter(isPrintable).map((byte) => ({ byte, char: String.fromCharCode(byte) }));
  const others = bytes.filter((byte) => !isPrintable(byte));
  return [...printable, ...others.map((byte, i) => ({ byte, char: String.fromCharCode(0x100 + i) }))];
})();

/** The symbol a merge produces. */
export const mergedSymbol = (merge: string): string => merge.replace(" ", "");

/**
 * Parses a `merges.txt`: one `left right` pair per line after an optional comment line. Accepts Windows line endings.
 * Throws a VocabularyError naming the line.
 */
export function parseMerges(text: string): string[] {
  const merges: string[] = [];
  for (const [index, line] of text
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .entries()) {
    if (line === "" || line.startsWith("#version") || (index === 0 && isComment(line))) continue;
    if (!isMerge(line))
      throw new VocabularyError(`line ${index + 1} is not two symbols separated by a space`);
    merges.push(line);
  }
  checkCount(merges.length);
  return merges;
}

/** Whether it is two symbols separated by a space. */
export const isMerge = (line: string): boolean => /^[^\s]+ [^\s]+$/.test(line);

/** The first merge always joins two bytes, so any other first line starting with # is a comment. */
const isComment = (line: string): boolean => line.startsWith("#") && !/^# \S(?:<\/w>)?$/.test(line);

/** The merges of a `tokenizer.json`, where each is a pair or a string. Throws a VocabularyError. */
export function joinMerges(merges: readonly (string | readonly string[])[]): string[] {
  checkCount(merges.length);
  return merges.map((merge, index) => {
    const line = typeof merge === "string" ? merge : merge.join(" ");
    if (!isMerge(line)) throw new VocabularyError(`merge ${index + 1} is not two symbols`);
    return line;
  });
}

function checkCount(count: number): void {
  if (count > MAX_VOCABULARY) {
    throw new VocabularyError(`has ${count} merges; the limit is ${MAX_VOCABULARY}`);
  }
}

/** A canonical form, independent of the file's comment and line endings; the hash is computed over this. */
export const canonicalMerges = (merges: readonly string[]): string => `#version: 0.2\n${merges.join("\n")}\n`;

/** Symbols by id, derived from the merges alone: bytes, bytes ending a word, then the merges in order. */
export function derivedSymbols(merges: readonly string[]): string[] {
  const chars = BYTE_CHARS.map(({ char }) => char);
  return [...chars, ...chars.map((char) => char + END_OF_WORD), ...merges.map(mergedSymbol)];
}

/** Ids by symbol. Throws a VocabularyError for duplicate symbols. */
export function indexSymbols({ merges, symbols = derivedSymbols(merges) }: Vocabulary): Map<string, number> {
  if (symbols.length > MAX_VOCABULARY) {
    throw new VocabularyError(`has ${symbols.length} symbols; the limit is ${MAX_VOCABULARY}`);
  }
  const ids = new Map(symbols.map((symbol, id) => [symbol, id]));
  if (ids.size < symbols.length) {
    const twice = symbols.find((symbol, id) => ids.get(symbol) !== id);
    throw new VocabularyError(`the symbol ${JSON.stringify(twice)} appears twice`);
  }
  return ids;
}
