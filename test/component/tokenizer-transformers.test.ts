// Compares the ids of 2,000 texts with the transformers library, if Python has version 5 of it.

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createClipTokenizer } from "../../shared/tokenizer/clip.ts";
import { mendText } from "../../shared/tokenizer/mend.ts";
import { readTokenizerOf, reference, texts as handmade, tokenizerFolder } from "../support/tokenizers.ts";

const SCRIPT = join(import.meta.dirname, "..", "fixtures", "tokenizer", "make.py");
const PYTHON = process.env["VQD_PYTHON"] || "python3";
const TEXTS = 2_000;
const MAX_OUTPUT = 256 * 2 ** 20;

/** Output of Python; undefined if it fails, as for a missing library. */
function python(args: readonly string[], input?: string): string | undefined {
  try {
    return execFileSync(PYTHON, args, {
      input,
      encoding: "utf8",
      maxBuffer: MAX_OUTPUT,
      stdio: ["pipe", "pipe", "ignore"],
    });
  } catch {
    return undefined;
  }
}

const transformers = python(["-c", "import transformers; print(transformers.__version__)"])?.trim();
const hasFive = transformers?.startsWith("5.") === true;
const hasFtfy = python(["-c", "import ftfy"]) !== undefined;
const why = hasFive ? "" : ` (no transformers 5 in ${PYTHON}: VQD_PYTHON names another)`;

/** Words, symbols and damaged text in many languages. */
const PARTS = [
  ..."a red fox~Zwei Hunde~café~naïve~Ångström~straße~İstanbul~ΣΊΣΥΦΟΣ~красный куб~一只红色的猫~東京タワー~서울의 가을".split(
    "~",
  ),
  ..."قطة حمراء~חתול אדום~लाल बिल्ली~แมวสีแดง~con mèo đỏ~გაჩერება~ድመት~🐱~👩‍🚀~🇯🇵~❤️~1️⃣~🧑🏽‍🤝‍🧑🏻".split("~"),
  ..."!~!!~!?~...~…~'s~n't~I'll~ROCK'N'ROLL~3.14~1,000~#tag~@home~http://a.b/c?d=e&f~50%~€5~½~①~Ⅷ~²".split(
    "~",
  ),
  ..."<|endoftext|>~<|startoftext|>~<|ENDOFTEXT|>~<|endof~<cat-toy>~<Cat-Toy>_1~<CAT-TOY>~<Style>~<style>".split(
    "~",
  ),
  ..."<l>~<r>~<l><r>~<L><R>~Word~word~Någon~någon~<pad>~pneumonoultramicroscopicsilicovolcanoconiosis".split(
    "~",
  ),
  ..."cafÃ©~donâ€™t~schÃ¶n~Ð¼Ð¸Ñ€~ðŸ˜€~&amp;~&lt;b&gt;~&#39;~&hellip;~“curly”~it’s~ﬁne~Ｆｕｌｌ~ﾊﾝｶｸ~é~ö́~ﬀ".split(
    "~",
  ),
  "a".repeat(60),
  "\u200b",
  "\u00ad",
  "\u0000",
  "\u001b[31m",
  "\u0085",
  "\ufeff",
  "\ufffd",
];
const BETWEEN = ["", " ", " ", " ", "  ", ", ", "-", "_", "\n", "\t", "\u00a0", "\u3000", "\u2009"];
/**
 * The only differences, found by trying every character of Unicode: the tokenizers library does not know the letters and
 * numbers of Unicode 17 yet, nor the compositions (NFC) of Unicode 16.
 */
const TOO_NEW =
  /[\u088f\u0c5c\u0cdc\ua7ce\ua7cf\ua7f1\u{10940}-\u{10959}\u{10ec5}-\u{10ec7}\u{11380}-\u{113e1}\u{11db0}-\u{11de9}\u{16100}-\u{16139}\u{16d40}-\u{16d79}\u{16ea0}-\u{16ed3}\u{16ff2}-\u{16ff6}\u{187f8}-\u{187ff}\u{18d09}-\u{18d1e}\u{18d80}-\u{18df2}\u{1e6c0}-\u{1e6ff}\u{2b73a}-\u{2b73f}\u{2cea2}-\u{2cead}\u{323b0}-\u{33479}]/gu;

const anyCharacter = fc.string({ unit: "binary", maxLength: 12 });
const part = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...PARTS) },
  { weight: 1, arbitrary: fc.string({ unit: "grapheme", maxLength: 8 }) },
  { weight: 1, arbitrary: anyCharacter },
);
const text = fc
  .array(fc.tuple(part, fc.constantFrom(...BETWEEN)), { maxLength: 40 })
  .map((parts) => parts.flat().join("").toWellFormed().replace(TOO_NEW, ""));

describe(`transformers ${transformers ?? ""}`, () => {
  const texts = [...handmade, ...fc.sample(text, { seed: 22, numRuns: TEXTS - handmade.length })];

  it.skipIf(!hasFive).each(Object.keys(reference.ids))(
    `gives the ids of %s, text by text${why}`,
    async (name) => {
      const dir = await tokenizerFolder(name);
      const answer = python([SCRIPT, "--ids", join(dir, "tokenizer")], JSON.stringify(texts)) ?? "";
      const expected = JSON.parse(answer) as number[][];
      const tokenizer = createClipTokenizer(readTokenizerOf(dir).tables, { mend: false });
      const differing = texts.filter((one, i) => tokenizer.encode(one).join() !== expected[i]?.join());
      expect(differing).toEqual([]);
      expect(expected).toHaveLength(TEXTS);
    },
  );

  it.skipIf(!hasFtfy)("mends texts like ftfy, except for mojibake", () => {
    // fix_encoding searches for mojibake; it includes the repair of C1 controls.
    const code =
      "import ftfy, json, sys; from ftfy.fixes import fix_c1_controls;" +
      "json.dump([ftfy.fix_text(fix_c1_controls(t), fix_encoding=False, fix_line_breaks=False)" +
      " for t in json.load(sys.stdin)], sys.stdout)";
    const mended = JSON.parse(python(["-c", code], JSON.stringify(texts)) ?? "") as string[];
    const differing = texts.filter((one, i) => mendText(one) !== mended[i]);
    expect(differing).toEqual([]);
  });
});
