// The words that a checkpoint says its model knows.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { CheckpointFolder } from "../../gpu-worker/checkpoint/files/folder.ts";
import { readKnownWords } from "../../gpu-worker/checkpoint/known-words.ts";
import { BUNDLED_MODEL } from "../../infra/stack/paths.ts";

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "vqd-words-"));
});
afterAll(() => rmSync(dir, { recursive: true }));

function read(text: string) {
  writeFileSync(join(dir, "vocabulary.txt"), text);
  return readKnownWords(new CheckpointFolder(dir));
}

it("are one a line", () => {
  expect(readKnownWords(new CheckpointFolder(dir))).toBeUndefined();
  expect(read("fox\nred\r\nñandú\n")).toBe("fox red ñandú");
  expect(readKnownWords(new CheckpointFolder(BUNDLED_MODEL))?.split(" ")).toContain("fox");
});

it.each(["", "Fox\n", "a\tb\n", "fox\n".repeat(30_000)])("%j is refused", (text) => {
  expect(() => read(text)).toThrow(/vocabulary\.txt.*is not a list of words/);
});
