// The forms for GPUs: fp16, and weights of 8 and 4 bits; on the CPU provider, and on WebGPU where there is a driver.

import { spawn } from "node:child_process";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { array, assert, float, integer, property, sample } from "fast-check";
import { describe, expect, it } from "vitest";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { formName, GPU_QUANTIZATIONS, graphForm } from "../../gpu-worker/graph/form.ts";
import { GraphBuilder } from "../../gpu-worker/graph/onnx.ts";
import { blockProduct, dequantizeBlocks, quantizeBlocks } from "../../gpu-worker/graph/weight-blocks.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { floatData, floatTensor, Session } from "../../gpu-worker/runtime/session.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";
import { vulkanDriver } from "../support/vulkan.ts";

const values = (length: number) =>
  array(float({ min: -4, max: 4, noNaN: true, noDefaultInfinity: true }), {
    minLength: length,
    maxLength: length,
  });

it.each([8, 4] as const)("rounds weights of %d bits to within half a level of their block", (bits) => {
  assert(
    property(integer({ min: 1, max: 70 }), integer({ min: 1, max: 5 }), (inputs, outputs) => {
      const weight = Float32Array.from(sample(values(inputs * outputs), 1)[0] ?? []);
      const layer = { weight, bias: undefined, inputs, outputs };
      const blocks = quantizeBlocks(layer, bits);
      const rounded = dequantizeBlocks(blocks, layer, bits);
      for (let i = 0; i < weight.length; i++) {
        const block = Math.floor(Math.floor(i / outputs) / 32);
        const scale = Math.abs(blocks.scales[(i % outputs) * blocks.blocks + block] ?? 0);
        // The level opposite of the lowest one is missing, so a weight as large as the largest is off by a whole one.
        const limit = scale * 1.01 + 1e-5;
        expect(Math.abs((weight[i] ?? 0) - (rounded[i] ?? 0))).toBeLessThanOrEqual(limit);
      }
    }),
    { numRuns: 50 },
  );
});

it.each([8, 4] as const)("multiplies with the weights of %d bits that it describes", async (bits) => {
  const [rows, inputs, outputs] = [5, 72, 9];
  const weight = Float32Array.from({ length: inputs * outputs }, (_, i) => Math.sin(i * 1.7) / 3);
  const layer = { weight, bias: undefined, inputs, outputs };
  const x = Float32Array.from({ length: rows * inputs }, (_, i) => Math.cos(i * 0.9));
  const path = join(await temporaryFolder(), "product.onnx");
  const graph = new GraphBuilder("product", path);
  const input = graph.input("x", "float32", ["rows", inputs]);
  graph.output(
    "y",
    "float32",
    ["rows", outputs],
    blockProduct(graph, input, layer, { bits, activations: "float32" }),
  );
  graph.finish();
  const session = await Session.create(path, { provider: "cpu", threads: 1 });
  const y = floatData(await session.run({ x: floatTensor(x, [rows, inputs]) }, "y"));
  await session.release();
  const used = dequantizeBlocks(quantizeBlocks(layer, bits), layer, bits);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < outputs; column++) {
      let sum = 0;
      for (let i = 0; i < inputs; i++) sum += (x[row * inputs + i] ?? 0) * (used[i * outputs + column] ?? 0);
      expect(y[row * outputs + column]).toBeCloseTo(sum, 3);
    }
  }
});

it("has a name for each form and provider, and refuses int8 on GPUs", () => {
  const names = GPU_QUANTIZATIONS.flatMap((quantization) =>
    (["cpu", "webgpu", "cuda"] as const).map((provider) => formName(graphForm(provider, quantization))),
  );
  // CUDA's graphs differ from the CPU's by drawing, and WebGPU's by their attention.
  expect(new Set(names).size).toBe(GPU_QUANTIZATIONS.length * 3);
  expect(() => graphForm("cuda", "int8")).toThrow("int8 runs on the cpu provider only");
  expect(() => graphForm("cpu", "int8", true)).toThrow("int8 has no graph that draws");
});

/** Largest mean error of log p(x_0), weighted by p, in nats. */
const LIMITS = { none: 1e-4, fp16: 0.01, w8a16: 0.05, w4a16: 0.6 };

describe("tiny", () => {
  it.each(GPU_QUANTIZATIONS)("in %s with a graph that draws stays near fp32", async (quantization) => {
    const cacheDir = await temporaryFolder();
    const exact = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, { cacheDir });
    const options = { cacheDir, quantization, drawsOnDevice: true };
    const rounded = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, options);
    try {
      expect(rounded.info.numericsId).not.toBe(exact.info.numericsId);
      const { error, likelyKept } = await distance(exact, rounded);
      expect(error).toBeLessThan(LIMITS[quantization]);
      if (quantization !== "w4a16") expect(likelyKept).toBeGreaterThan(0.95);
    } finally {
      await exact.release();
      await rounded.release();
    }
  });
});

describe("the bundled model", () => {
  // Its other forms are compared by test/bench/quantization.ts.
  it("is nearer to fp32 in w8a16 than in int8, which rounds activations, too", async () => {
    const options = { cacheDir: await temporaryFolder() };
    const exact = await VQDiffusionPipeline.fromPretrained(BUNDLED_MODEL, options);
    const form = { ...options, quantization: "w8a16", drawsOnDevice: true } as const;
    const w8a16 = await VQDiffusionPipeline.fromPretrained(BUNDLED_MODEL, form);
    const int8 = await VQDiffusionPipeline.fromPretrained(BUNDLED_MODEL, {
      ...options,
      quantization: "int8",
    });
    try {
      const [near, far] = [await distance(exact, w8a16), await distance(exact, int8)];
      expect(near.error).toBeLessThan(0.75 * far.error);
      expect(near.likelyKept).toBeGreaterThan(Math.max(0.95, far.likelyKept));
    } finally {
      await Promise.all([exact, w8a16, int8].map((pipeline) => pipeline.release()));
    }
  });
});

/** Mean error of log p, weighted by p, and the share of pixels whose most likely class is the same, at the first step. */
async function distance(exact: VQDiffusionPipeline, rounded: VQDiffusionPipeline) {
  const { numEmbeddings: classes, numTrainTimesteps, latentHeight, latentWidth } = exact.info;
  const pixels = latentHeight * latentWidth;
  const timestep = numTrainTimesteps - 1;
  const tokens = new Uint16Array(pixels).fill(classes);
  const predict = async (pipeline: VQDiffusionPipeline): Promise<Float32Array> => {
    const prompts = await pipeline.encodePrompt([pipeline.tokenize("a red cube").ids]);
    return pipeline.model.denoiser.predict([tokens], [timestep], prompts);
  };
  const [a, b] = [await predict(exact), await predict(rounded)];
  let [error, kept] = [0, 0];
  for (let pixel = 0; pixel < pixels; pixel++) {
    const row = (of: Float32Array) => of.subarray(pixel * classes, (pixel + 1) * classes);
    const [own, other] = [row(a), row(b)];
    for (const [k, x] of own.entries()) error += Math.exp(x) * Math.abs(x - (other[k] ?? 0));
    if (own.indexOf(Math.max(...own)) === other.indexOf(Math.max(...other))) kept++;
  }
  return { error: error / pixels, likelyKept: kept / pixels };
}

describe("on WebGPU", () => {
  it("computes tiny in its default form within the form's limits, if the driver has fp16", async ({
    skip,
  }) => {
    const { driver, missing } = vulkanDriver();
    skip(missing !== undefined, missing);
    const cache = await temporaryFolder();
    const vectors = join(TINY_CHECKPOINT, "..", "vectors.json");
    const cli = join(import.meta.dirname, "..", "..", "gpu-worker", "cli.ts");
    const args = ["parity", "--cache", cache, "--checkpoint", TINY_CHECKPOINT, "--vectors", vectors];
    const child = spawn(
      process.execPath,
      [cli, ...args, "--provider", "webgpu", "--quantization", "w8a16", "--runs", "batch_cfg"],
      { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, VK_ICD_FILENAMES: driver } },
    );
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
    skip(stderr.includes("device does not support it"), "the driver has no fp16");
    const report = JSON.parse(stdout) as {
      pass: boolean;
      stages: Record<string, { pass: boolean } | null>;
    };
    expect(report).toMatchObject({ provider: "webgpu", quantization: "w8a16", pass: true });
    expect(report.stages["transformer"]).not.toBeNull();
  });
});
