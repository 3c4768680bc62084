// Layers that graphs for GPUs have in another form: attention in tiles, and norms as one operator with the sum before them.

import { join } from "node:path";
import { expect, it } from "vitest";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { addAndNorm, attention, headsAtOnce, norm } from "../../gpu-worker/graph/layers.ts";
import { type FloatType, GraphBuilder } from "../../gpu-worker/graph/onnx.ts";
import { byteLength, floatData, floatTensor, Session } from "../../gpu-worker/runtime/session.ts";
import { temporaryFolder } from "../support/tiny.ts";

const values = (length: number, seed: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => 3 * Math.sin(i * 0.731 + seed) + Math.cos(i * 0.0137 * seed));

/** The outputs of a graph whose inputs are `shapes` of fp32. */
async function compute(
  shapes: Readonly<Record<string, readonly number[]>>,
  build: (graph: GraphBuilder) => Readonly<Record<string, string>>,
): Promise<Record<string, Float32Array>> {
  const path = join(await temporaryFolder(), "layers.onnx");
  const graph = new GraphBuilder("layers", path);
  const inputs = Object.entries(shapes);
  for (const [name, shape] of inputs) graph.input(name, "float32", shape);
  const outputs = Object.entries(build(graph));
  for (const [name, value] of outputs) graph.output(name, "float32", ["a", "b", "c"], value);
  graph.finish();
  const session = await Session.create(path, { provider: "cpu", threads: 1 });
  try {
    const feeds = inputs.map(([name, shape], i) => {
      const size = shape.reduce((product, length) => product * length, 1);
      return [name, floatTensor(values(size, i + 1), shape)] as const;
    });
    const made = await session.runAll(
      Object.fromEntries(feeds),
      outputs.map(([name]) => name),
    );
    for (const tensor of Object.values(made)) expect(byteLength(tensor)).toBeGreaterThan(0);
    return Object.fromEntries(Object.entries(made).map(([name, tensor]) => [name, floatData(tensor)]));
  } finally {
    await session.release();
  }
}

it.each<FloatType>(["float32", "float16"])(
  "computes attention in tiles to the same bits, in %s",
  async (activations) => {
    const [rows, length, heads, headDim] = [2, 70, 6, 8];
    const shape = [rows, length, heads * headDim];
    const { whole, tiled, single } = await compute({ query: shape, key: shape, value: shape }, (graph) => {
      const narrow = (x: string) => (activations === "float16" ? graph.cast(x, activations) : x);
      const of = (tile?: number): string => {
        const inputs = [narrow("query"), narrow("key"), narrow("value")] as const;
        const size = { heads, headDim, activations };
        return graph.cast(attention(graph, inputs, tile === undefined ? size : { ...size, tile }), "float32");
      };
      // Four does not divide six.
      return { whole: of(), tiled: of(4), single: of(1) };
    });
    expect(whole?.some((value) => value !== 0)).toBe(true);
    expect(tiled).toEqual(whole);
    expect(single).toEqual(whole);
  },
);

it("bounds the scores of a row to eight megabytes, whatever the shape, and leaves those of small models whole", () => {
  expect(headsAtOnce(1_024, { heads: 16, activations: "float16" })).toBe(4);
  expect(headsAtOnce(1_024, { heads: 16 })).toBe(2);
  expect(headsAtOnce(1_024, { heads: 16, fusedAttention: true })).toBe(16);
  expect(headsAtOnce(4_096, { heads: 16, activations: "float16" })).toBe(1);
  const { transformer } = new DiffusersCheckpoint(BUNDLED_MODEL);
  const heads = transformer.num_attention_heads;
  expect(headsAtOnce(transformer.sample_size ** 2, { heads, activations: "float16" })).toBe(heads);
});

it.each([true, false])(
  "adds a branch and norms the sum as one operator, with a shift: %s",
  async (hasShift) => {
    const width = 24;
    const shape = [2, 5, width];
    const weights = { scale: values(width, 4), shift: hasShift ? values(width, 5) : undefined };
    const branch = { branch: "branch", bias: values(width, 6) };
    const { sum, normed, fusedSum, fusedNormed, again } = await compute(
      { x: shape, branch: shape },
      (graph) => {
        const apart = addAndNorm(graph, "x", branch, weights, { activations: "float32", fusedNorms: false });
        const fused = addAndNorm(graph, "x", branch, weights, { activations: "float32", fusedNorms: true });
        return {
          ...apart,
          fusedSum: fused.sum,
          fusedNormed: fused.normed,
          again: norm(graph, fused.sum, weights),
        };
      },
    );
    const far = (a: Float32Array = new Float32Array(), b: Float32Array = new Float32Array()): number =>
      Math.max(...a.map((value, i) => Math.abs(value - (b[i] ?? NaN))));
    expect(far(sum, fusedSum)).toBeLessThan(2e-6);
    expect(far(normed, fusedNormed)).toBeLessThan(1e-5);
    expect(far(fusedNormed, again)).toBeLessThan(1e-5);
  },
);
