// Model cards: what a checkpoint's README.md says to those who use the model.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { CheckpointFolder } from "../../gpu-worker/checkpoint/files/folder.ts";
import { readModelCard } from "../../gpu-worker/checkpoint/model-card.ts";
import { BUNDLED_MODEL } from "../../infra/stack/paths.ts";

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "vqd-card-"));
});
afterAll(() => rmSync(dir, { recursive: true }));

function read(text: string) {
  writeFileSync(join(dir, "README.md"), text);
  return readModelCard(new CheckpointFolder(dir));
}
const front = (...lines: string[]): string => ["---", ...lines, "---", "", "# A model"].join("\n");

it("the bundled model has one", () => {
  const card = readModelCard(new CheckpointFolder(BUNDLED_MODEL));
  expect(card?.examples?.length).toBeGreaterThan(2);
  expect(card?.note).toMatch(/subject/);
});

it("no README, no front matter, or another's keys only: no card", () => {
  expect(readModelCard(new CheckpointFolder(dir))).toBeUndefined();
  expect(read("# A model\n---\nvqd: 1\n---\n")).toBeUndefined();
  expect(read(front("license: mit", "tags:", "  - text-to-image"))).toBeUndefined();
});

it("examples come from Hugging Face's widget, but for those of other tasks", () => {
  const lines = [
    "widget:",
    "  - text: fox",
    "    output:",
    "      url: fox.png",
    "  - src: cat.png",
    "  - text: 7",
  ];
  expect(read(front(...lines))).toEqual({ examples: ["fox"] });
  const many = Array.from({ length: 30 }, (_, i) => `  - text: fox ${i}`);
  expect(read(front("widget:", ...many))?.examples).toHaveLength(12);
  expect(read(front("widget: fox"))).toBeUndefined();
});

it("our own section has a note, presets and examples", () => {
  const lines = [
    "widget:",
    "  - text: cat",
    "vqd:",
    "  note: One subject.",
    "  presets: [fast]",
    "  examples: [fox]",
  ];
  const card = { note: "One subject.", presets: ["fast"], examples: ["fox"] };
  expect(read(front(...lines))).toEqual(card);
  expect(read(front(...lines).replaceAll("\n", "\r\n"))).toEqual(card);
});

it.each([
  [["vqd:", "  presets: [quick]"], /README\.md.*vqd\.presets\.0/],
  [["vqd:", "  colour: red"], /vqd: .*colour/],
  [["vqd:", `  note: ${"a".repeat(501)}`], /vqd\.note/],
  [["vqd:", "  note: ''"], /vqd\.note: must not be empty/],
  [["vqd: [1]"], /vqd/],
  [["vqd: {"], /YAML at its beginning is not valid/],
  [
    ["a: &a [x,x,x,x,x,x,x,x,x]", ...["b", "c", "d", "e"].map((name, i) => bomb(name, "abcd"[i] ?? ""))],
    /YAML at its beginning is not valid: .*alias/,
  ],
])("%j is refused", (lines, reason) => {
  expect(() => read(front(...lines))).toThrow(reason);
});

function bomb(name: string, of: string): string {
  return `${name}: &${name} [${Array.from({ length: 9 }, () => `*${of}`).join(",")}]`;
}
