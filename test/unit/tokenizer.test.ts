// The CLIP tokenizer against the reference's ids, and its behaviour on hostile text.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { cleanText } from "../../shared/tokenizer/clean.ts";
import { createClipTokenizer } from "../../shared/tokenizer/clip.ts";

const read = (path: string): Buffer => readFileSync(new URL(path, import.meta.url));
const merges = read("../../shared/tokenizer/clip-merges.txt").toString("utf8");
const tokenizer = createClipTokenizer(merges);
/** As it ships with the bundled model. */
const vocabulary = JSON.parse(readFileSync(join(BUNDLED_MODEL, "tokenizer", "vocab.json"), "utf8")) as Record<
  string,
  number
>;

interface Vectors {
  prompts: { name: string; text: string }[];
}
const vectors = JSON.parse(read("../fixtures/tiny/vectors.json").toString("utf8")) as Vectors;

/** Rows of an int32 matrix in the vectors' safetensors file. */
function rowsOf(name: string): number[][] {
  const file = read("../fixtures/tiny/vectors.safetensors");
  const headerLength = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + headerLength).toString("utf8")) as Record<
    string,
    { shape: [number, number]; data_offsets: [number, number] }
  >;
  const entry = header[name];
  if (entry === undefined) throw new Error(`no tensor ${name}`);
  const [rows, columns] = entry.shape;
  const start = 8 + headerLength + entry.data_offsets[0];
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (__, column) => file.readInt32LE(start + (row * columns + column) * 4)),
  );
}

/** The reference's algorithm as written: merge all places of the best pair, look again. Quadratic. */
function naiveBpe(word: string): string[] {
  const ranks = new Map(
    merges
      .split("\n")
      .slice(1)
      .map((line, rank) => [line, rank]),
  );
  let parts = Array.from(word, (char, i) => (i === word.length - 1 ? `${char}</w>` : char));
  for (;;) {
    let best = Infinity;
    let pair = "";
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
      if (rank < best) {
        best = rank;
        pair = `${parts[i]} ${parts[i + 1]}`;
      }
    }
    if (best === Infinity) return parts;
    const joined: string[] = [];
    for (let i = 0; i < parts.length; i++) {
      if (`${parts[i]} ${parts[i + 1]}` === pair) {
        joined.push(pair.replace(" ", ""));
        i++;
      } else joined.push(parts[i] ?? "");
    }
    parts = joined;
  }
}

describe("CLIP tokenizer", () => {
  const full = rowsOf("tokens.full");
  const padded = rowsOf("tokens.ids");

  it.each(vectors.prompts.map(({ name, text }, i) => ({ name, text, i })))(
    "gives the reference's ids: $name",
    (prompt) => {
      // The reference pads to 77 before it cuts; -1 fills the matrix.
      const row = (full[prompt.i] ?? []).filter((id) => id >= 0);
      const expected = row.slice(0, row.indexOf(49407) < 0 ? undefined : row.lastIndexOf(49407) + 1);
      expect(tokenizer.encode(prompt.text)).toEqual(expected);
      expect(tokenizer.encodePadded(prompt.text, { maxLength: 77, padTokenId: 0 })).toEqual({
        ids: padded[prompt.i],
        tokenCount: expected.length,
        truncated: expected.length > 77,
      });
    },
  );

  it("derives the vocabulary that ships with the model", () => {
    expect(tokenizer.vocabularySize).toBe(Object.keys(vocabulary).length);
    for (const word of ["a", "photo", "elephant", "watercolor"]) {
      expect(tokenizer.encode(word)).toEqual([49406, vocabulary[`${word}</w>`], 49407]);
    }
  });

  it("merges as the reference's loop does", () => {
    const word = fc.string({
      unit: fc.constantFrom(...Array.from("abcdehilnorstu")),
      minLength: 1,
      maxLength: 24,
    });
    fc.assert(
      fc.property(word, (text) => {
        const expected = naiveBpe(text).map((symbol) => vocabulary[symbol]);
        expect(tokenizer.encode(text).slice(1, -1)).toEqual(expected);
      }),
      { numRuns: 30 },
    );
  });

  it("never throws and keeps ids in range", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary", maxLength: 300 }),
      fc.string({
        unit: fc.constantFrom("&", "#", "x", "a", "m", "p", ";", "<", "|", ">", "\ud800", "\udfff", "'"),
      }),
    );
    fc.assert(
      fc.property(text, (value) => {
        const ids = tokenizer.encode(value);
        expect(ids[0]).toBe(49406);
        expect(ids.at(-1)).toBe(49407);
        for (const id of ids) {
          if (!Number.isInteger(id) || id < 0 || id >= 49408) throw new Error(`id ${id}`);
        }
        const cut = tokenizer.encodePadded(value, { maxLength: 32, padTokenId: 49407 });
        expect(cut.ids).toHaveLength(32);
        expect(cut.truncated).toBe(ids.length > 32);
      }),
    );
  });

  it.each([
    ["one letter", "a".repeat(4_000)],
    [
      "letters",
      Array.from({ length: 4_000 }, (_, i) => String.fromCharCode(97 + ((i * i * 7) % 26))).join(""),
    ],
    ["punctuation", "!?".repeat(2_000)],
    ["emoji", "\u{1f9d1}\u200d".repeat(1_300)],
    ["entities", "&amp;".repeat(800)],
    ["nested entities", `&${"amp;".repeat(999)}`],
    ["open entities", "&a".repeat(2_000)],
    ["escapes", "\u001b[1;".repeat(1_000)],
    ["combining marks", `a${"\u0301".repeat(3_999)}`],
  ])("looks pairs up in proportion to the length of a text without a space: %s", (_, text) => {
    const lookups = vi.spyOn(Map.prototype, "get");
    tokenizer.encode(text);
    const count = lookups.mock.calls.length;
    lookups.mockRestore();
    expect(count).toBeLessThan(8 * new TextEncoder().encode(text).length);
  });

  it("refuses a file that is no list of merges", () => {
    expect(() => createClipTokenizer("#version: 0.2\nab cd\n")).toThrow(RangeError);
  });
});

describe("text cleaning", () => {
  it.each([
    ["\u201cHi\u201d \u2018there\u2019", "\"hi\" 'there'"],
    ["&ldquo;hi&rdquo;", '"hi"'],
    ["\uff26\uff55\uff4c\uff4c\u3000width", "full width"],
    ["\ufb01ne \u01c4", "fine d\u017e"],
    ["cafe\u0301", "caf\u00e9"],
    ["a\u0085b", "a\u2026b"],
    ["a\u001b[31mred\u001b[0m", "ared"],
    ["a\ufeffb\u0000c", "abc"],
    [" a \t\r\n b\u00a0 ", "a b"],
    ["\ud800x", "\ufffdx"],
  ])("%j becomes %j", (text, expected) => {
    expect(cleanText(text)).toBe(expected);
  });
});
