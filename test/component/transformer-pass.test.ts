// Passes divided between sessions: to the same bits, side by side, and whole where the sessions cannot be had.

import { rm } from "node:fs/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { ensureGraphs, graphPath } from "../../gpu-worker/graph/cache.ts";
import { graphForm } from "../../gpu-worker/graph/form.ts";
import { TextConditioner } from "../../gpu-worker/pipeline/conditioning/text-conditioner.ts";
import { type PassResult, TransformerPass } from "../../gpu-worker/pipeline/transformer-pass.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const checkpoint = new DiffusersCheckpoint(TINY_CHECKPOINT);
const pixels = checkpoint.transformer.sample_size ** 2;
const classes = checkpoint.transformer.num_vector_embeds - 1;

let graphs: string;
let text: TextConditioner;
let passes: TransformerPass[];

beforeEach(async () => {
  const cacheDir = await temporaryFolder();
  graphs = ensureGraphs(checkpoint, checkpoint.version(), { cacheDir, form: graphForm("cpu", "int8") });
  text = await TextConditioner.load(checkpoint, graphs, { provider: "cpu", threads: 1 });
  passes = [];
});
afterEach(() => Promise.all([text, ...passes].map((part) => part.release())));

async function load(threads: number): Promise<TransformerPass> {
  const pass = await TransformerPass.load(checkpoint, graphs, { provider: "cpu", threads });
  passes.push(pass);
  return pass;
}

/** `count` images at different steps, each asking about some of its pixels. */
function run(pass: TransformerPass, count: number): Promise<PassResult> {
  const images = Array.from({ length: count }, (_, image) => ({
    tokens: Uint16Array.from({ length: pixels }, (_unused, i) => (i * (image + 3)) % (classes + 1)),
    timestep: 10 * image,
  }));
  const rows = images.map((_, image) => ({
    image,
    prompt: text.unconditional,
    evaluated: Array.from({ length: image + 1 }, (_unused, i) => i),
  }));
  return pass.run(images, rows);
}

it("gives one session's bits, for even and odd numbers of rows and several passes at once", async () => {
  const [whole, divided] = [await load(1), await load(2)];
  const counts = [1, 2, 3, 5, 8];
  const expected = [];
  for (const count of counts) expected.push(await run(whole, count));
  expect(await Promise.all(counts.map((count) => run(divided, count)))).toEqual(expected);
});

it("computes whole where the sessions cannot be loaded", async () => {
  const pass = await load(2);
  await rm(graphPath(graphs, "transformer"));
  const expected = [await run(pass, 1), await run(pass, 1)];
  expect(expected[0]).toEqual(expected[1]);
  const { logProbs, rowSize } = await run(pass, 2);
  expect(logProbs).toHaveLength(2 * rowSize);
  expect(logProbs.every(Number.isFinite)).toBe(true);
});
