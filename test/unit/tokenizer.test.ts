// The CLIP tokenizer against the reference's ids, and its behaviour on hostile text.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import * as fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { CheckpointFolder } from "../../gpu-worker/checkpoint/files/folder.ts";
import { readTokenizer } from "../../gpu-worker/checkpoint/tokenizer/read-tokenizer.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { decodeAnnouncement } from "../../shared/tokenizer/announcement.ts";
import { CLIP_MERGES_SHA256 } from "../../shared/tokenizer/vocabulary.ts";
import { clipTables, createClipTokenizer } from "../../shared/tokenizer/clip.ts";
import { mendText } from "../../shared/tokenizer/mend.ts";
import { prompts, TINY_CHECKPOINT, vector } from "../support/tiny.ts";
import {
  clipMerges as merges,
  readTokenizerOf,
  reference,
  texts,
  tokenizerFolder,
} from "../support/tokenizers.ts";

const { tables } = readTokenizer(new CheckpointFolder(TINY_CHECKPOINT), undefined);
const tokenizer = createClipTokenizer(tables);
const unmended = createClipTokenizer(tables, { mend: false });
/** As it ships with the bundled model. */
const vocabulary = JSON.parse(readFileSync(join(BUNDLED_MODEL, "tokenizer", "vocab.json"), "utf8")) as Record<
  string,
  number
>;

/** Rows of an id matrix in the recorded vectors. */
function rowsOf(name: string): number[][] {
  const { shape, data } = vector(name);
  const [rows = 0, columns = 0] = shape;
  return Array.from({ length: rows }, (_, row) => Array.from(data.slice(row * columns, (row + 1) * columns)));
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

describe("the ids of the published checkpoint's tokenizer", () => {
  const padded = { maxLength: 77, padTokenId: 0 };
  /** Python's lower() has a special form for a sigma at the end of a word, unlike the tokenizers library. */
  const FINAL_SIGMA = "compat";

  it.each(prompts.map(({ name, text }, i) => ({ name, text, i })))("$name", ({ name, text, i }) => {
    // transformers 5, without mending
    expect(unmended.encodePadded(text, padded).ids).toEqual(rowsOf("tokens.hf.tf5.17.0")[i]);
    // transformers 4 with ftfy
    const { ids, tokenCount, truncated } = tokenizer.encodePadded(text, padded);
    const withFtfy = rowsOf("tokens.hf.tf4.57.6_slow_ftfy")[i] ?? [];
    const same = name === FINAL_SIGMA ? withFtfy.findLastIndex((id) => id > 0) - 1 : padded.maxLength;
    expect(ids.slice(0, same)).toEqual(withFtfy.slice(0, same));
    // openai/CLIP, to which "!" is not a special token
    if (!text.includes("!")) {
      const full = (rowsOf("tokens.full")[i] ?? []).filter((id) => id >= 0);
      expect(ids.slice(0, same)).toEqual(rowsOf("tokens.ids")[i]?.slice(0, same));
      expect(tokenCount).toBe(full.lastIndexOf(49_407) + 1);
      expect(truncated).toBe(tokenCount > padded.maxLength);
    }
  });
});

describe("tokenizers as transformers writes them give its ids", () => {
  it.each(Object.keys(reference.ids))("%s", async (name) => {
    const info = readTokenizerOf(await tokenizerFolder(name));
    const own = createClipTokenizer(info.tables, { mend: false });
    for (const [i, text] of texts.entries()) {
      expect(own.encode(text), JSON.stringify(text)).toEqual(reference.ids[name]?.[i]);
    }
  });

  it.each(["own", "flags", "five-inversion", "published"])(
    "also as %s's worker announces them to the edge",
    async (name) => {
      const { announcement, tables: own, vocabularySha256 } = readTokenizerOf(await tokenizerFolder(name));
      const decoded = await decodeAnnouncement(new Uint8Array(announcement));
      if ("classes" in decoded) throw new Error("the tokenizer was announced as classes");
      const { vocabulary: announced, ...rest } = decoded;
      expect(announced === null).toBe(vocabularySha256 === CLIP_MERGES_SHA256);
      const rebuilt = createClipTokenizer(
        { vocabulary: announced ?? own.vocabulary, ...rest },
        { mend: false },
      );
      for (const [i, text] of texts.entries()) expect(rebuilt.encode(text)).toEqual(reference.ids[name]?.[i]);
    },
  );

  it.each<[string, string | Uint8Array, RegExp]>([
    ["not compressed", new Uint8Array(100), /./],
    ["not JSON", "{", /JSON/],
    ["of a later release", '{"v":2}', /tokenizer: v: /],
    ["with a field too many", '{"v":1,"x":1}', /"x"/],
    ["far too large once decompressed", " ".repeat(64 * 1024 * 1024), /more than the limit of 4194304 bytes/],
    ["far too large as it is", new Uint8Array(2 ** 20), /has 1048576 bytes; the limit is 786432/],
  ])("but not from an announcement that is %s", async (_, content, message) => {
    const bytes = typeof content === "string" ? new Uint8Array(gzipSync(content)) : content;
    await expect(decodeAnnouncement(new Uint8Array(bytes))).rejects.toThrow(message);
  });

  it("whatever the form of the merges", async () => {
    for (const name of ["five-inversion", "own"]) {
      const pairs = readTokenizerOf(await tokenizerFolder(name));
      expect(readTokenizerOf(await tokenizerFolder(name, "strings"))).toEqual(pairs);
    }
    // Loaded and saved again by transformers 5, the tokenizer is the same.
    const published = readTokenizerOf(await tokenizerFolder("published"));
    const five = readTokenizerOf(await tokenizerFolder("five"));
    expect(five).toEqual(published);
  });
});

describe("CLIP tokenizer", () => {
  it("derives the vocabulary that ships with the model", () => {
    expect(clipTables(merges)).toMatchObject({ bosTokenId: 49_406, eosTokenId: 49_407 });
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
    const of = (text: string) => () => createClipTokenizer(clipTables(text));
    expect(of("#version: 0.2\nab cd\n")).toThrow(/merge 1, "ab cd", does not join two known symbols/);
    expect(of("#version: 0.2\na b\nc d e\n")).toThrow(/line 3 is not two symbols/);
    expect(of("a b\na b\n")).toThrow(/the symbol "ab" appears twice/);
  });
});

describe("mending", () => {
  it.each([
    ["\u201cHi\u201d \u2018there\u2019", "\"Hi\" 'there'"],
    ["&ldquo;hi&rdquo;", '"hi"'],
    ["\uff26\uff55\uff4c\uff4c\u3000width", "Full width"],
    ["\ufb01ne \u01c4", "fine D\u017d"],
    ["cafe\u0301", "caf\u00e9"],
    ["a\u0085b", "a\u2026b"],
    ["a\u001b[31mred\u001b[0m", "ared"],
    ["a\ufeffb\u0000c", "abc"],
    ["\ud800x", "\ufffdx"],
  ])("%j becomes %j", (text, expected) => {
    expect(mendText(text)).toBe(expected);
  });
});
