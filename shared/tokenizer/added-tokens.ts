// Added tokens (special ones included), which are matched in a text before it is split into words.

import { z } from "zod";
import { MAX_VOCABULARY, VocabularyError } from "./vocabulary.ts";

/** A textual inversion adds a few dozen at most. */
export const MAX_ADDED_TOKENS = 1_000;
const MAX_TOKEN_CHARS = 256;

/** transformers' AddedToken and its id. */
export const addedTokenSchema = z.strictObject({
  id: z
    .int()
    .min(0)
    .max(MAX_VOCABULARY - 1),
  content: z.string().min(1).max(MAX_TOKEN_CHARS),
  /** Whether a match includes the white space before it (lstrip) and after it (rstrip). */
  lstrip: z.boolean(),
  rstrip: z.boolean(),
  /** Whether matches inside a word are rejected. */
  singleWord: z.boolean(),
  /** Whether it is matched in the normalized text, and so regardless of case. */
  normalized: z.boolean(),
});
export type AddedToken = z.infer<typeof addedTokenSchema>;

/** A part of a text: the id of an added token, or the text between two of them. */
export type Piece = number | string;

const ENDS_WITH_WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const STARTS_WITH_WORD = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const SPACE = /\p{White_Space}/u;

const escaped = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);

/**
 * Splits a text at `tokens` like the tokenizers library: leftmost match first, the longest of several, and no second look at
 * a match rejected by `singleWord`. `spell` maps a token's content to the form to look for. Throws a VocabularyError if two
 * tokens have the same form.
 */
export function createSplitter(
  tokens: readonly AddedToken[],
  spell: (content: string) => string,
): (text: string) => Piece[] {
  const bySpelling = new Map(tokens.map((token) => [spell(token.content), token]));
  if (bySpelling.size < tokens.length) {
    const twice = tokens.find((token) => bySpelling.get(spell(token.content)) !== token);
    throw new VocabularyError(
      `the added token ${JSON.stringify(twice?.content)} is spelled like another one`,
    );
  }
  if (bySpelling.size === 0) return (text) => [text];
  const longestFirst = [...bySpelling.keys()].toSorted((a, b) => b.length - a.length);
  const pattern = new RegExp(longestFirst.map(escaped).join("|"), "gu");

  return (text) => {
    const pieces: Piece[] = [];
    let done = 0;
    /** End of the white space that was last stripped: each character is looked at once. */
    let stripped = 0;
    for (const match of text.matchAll(pattern)) {
      const token = bySpelling.get(match[0]);
      if (token === undefined) continue;
      let start = match.index;
      let stop = start + match[0].length;
      if (token.singleWord && isWithinWord(text, start, stop)) continue;
      if (token.lstrip) while (start > done && SPACE.test(text.charAt(start - 1))) start--;
      if (token.rstrip) {
        stop = Math.max(stop, stripped);
        while (SPACE.test(text.charAt(stop))) stop++;
        stripped = stop;
      }
      if (done < start) pieces.push(text.slice(done, start));
      pieces.push(token.id);
      done = stop;
    }
    if (done < text.length) pieces.push(text.slice(done));
    return pieces;
  };
}

/** Two units hold the adjacent character, whatever its plane. */
const isWithinWord = (text: string, start: number, stop: number): boolean =>
  ENDS_WITH_WORD.test(text.slice(Math.max(0, start - 2), start)) ||
  STARTS_WITH_WORD.test(text.slice(stop, stop + 2));
