// What CONTRIBUTING.md says of folders and of reads by index, for all product code.

import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";

const MOST_FILES = 15;

const files = globSync(
  ["edge", "gpu-worker", "infra", "shared"].map((room) => `${room}/**/*.{ts,mjs,js,py,css}`),
  {
    cwd: REPO,
    exclude: (path) => path.includes("node_modules"),
  },
);

it("has no folder of more than 15 files", () => {
  const counts = Map.groupBy(files, (file) => dirname(file));
  expect([...counts].filter(([, own]) => own.length > MOST_FILES).map(([folder]) => folder)).toEqual([]);
  expect(counts.size).toBeGreaterThan(50);
});

it("has no read by index that turns a wrong index into a plausible number", () => {
  const exact = files.filter((file) =>
    /^(gpu-worker\/(pipeline|graph|checkpoint)|shared\/tokenizer)\//.test(file),
  );
  const found = exact.filter((file) => /\]\s*\?\? ?-?\d/.test(readFileSync(join(REPO, file), "utf8")));
  expect(found).toEqual([]);
  expect(exact.length).toBeGreaterThan(50);
});
