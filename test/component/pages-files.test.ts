// The files that pages load: their size, and suggestions that are the bundled model's own.

import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { CheckpointFolder } from "../../gpu-worker/checkpoint/files/folder.ts";
import { readModelCard } from "../../gpu-worker/checkpoint/model-card.ts";
import { BUNDLED_MODEL, REPO } from "../../infra/stack/paths.ts";
import { SUGGESTIONS } from "../../infra/suggestions.ts";

it("suggests what the bundled model's card says, with its pictures: else run npx node infra/suggestions.ts", () => {
  const { version, width, height, suggestions } = JSON.parse(
    readFileSync(join(SUGGESTIONS, "suggestions.json"), "utf8"),
  ) as {
    version: string;
    width: number;
    height: number;
    suggestions: { prompt: string; file: string; tokens: string; order: string }[];
  };
  expect(version).toBe(new DiffusersCheckpoint(BUNDLED_MODEL).version());
  expect(suggestions.map(({ prompt }) => prompt)).toEqual(
    readModelCard(new CheckpointFolder(BUNDLED_MODEL))?.examples,
  );
  for (const { file, tokens, order } of suggestions) {
    expect(existsSync(join(SUGGESTIONS, file)), file).toBe(true);
    expect([tokens.length, order.length]).toEqual([2 * width * height, width * height]);
  }
});

it("sends less than 150 kB in all, compressed", () => {
  const pages = join(REPO, "edge", "pages");
  const files = globSync("**/*.{html,css,js,svg,json,webp}", { cwd: pages }).filter(
    (name) => !/(?:^|\/)(?:package|tsconfig.*)\.json$/.test(name) && !name.includes("types/"),
  );
  expect(files.length).toBeGreaterThan(30);
  const bytes = files.reduce((sum, name) => sum + gzipSync(readFileSync(join(pages, name))).length, 0);
  expect(bytes).toBeLessThan(150_000);
});
