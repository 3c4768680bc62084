// Checkpoints whose matrices are stored in int8: what convert writes, what is read of it, what is refused.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { convertCheckpoint } from "../../gpu-worker/checkpoint/convert.ts";
import { inspectCheckpoint } from "../../gpu-worker/checkpoint/inspect.ts";
import { dequantizeWeight, quantizeWeight } from "../../gpu-worker/checkpoint/weights/int8.ts";
import { SafetensorsFile } from "../../gpu-worker/checkpoint/weights/safetensors.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const TRANSFORMER = join("transformer", "diffusion_pytorch_model.safetensors");

async function converted(): Promise<string> {
  const dir = join(await temporaryFolder(), "int8");
  await convertCheckpoint(TINY_CHECKPOINT, dir, { dtype: "F32", quantization: "int8" });
  return dir;
}

it("holds the matrices that are multiplied in int8 as such, and everything else as floats", async () => {
  const dir = await converted();
  const source = SafetensorsFile.open(join(TINY_CHECKPOINT, TRANSFORMER));
  const target = SafetensorsFile.open(join(dir, TRANSFORMER));
  try {
    expect([...target.entries.keys()].toSorted()).toEqual([...source.entries.keys()].toSorted());
    for (const [name, entry] of target.entries) {
      const [found, expected] = [target.read(name), source.read(name)];
      if (entry.dtype !== "I8") {
        expect(entry.dtype, name).toBe("F32");
        expect(found, name).toEqual(expected);
        continue;
      }
      const [rows = 0, length = 0] = entry.shape;
      for (let row = 0; row < rows; row++) {
        const part = expected.subarray(row * length, (row + 1) * length);
        const step = Math.max(...part.map(Math.abs)) / 127;
        const error = part.reduce(
          (max, value, i) => Math.max(max, Math.abs(value - (found[row * length + i] ?? 0))),
          0,
        );
        expect(error, `${name} row ${row}`).toBeLessThanOrEqual(0.5001 * step);
      }
    }
    const int8 = [...target.entries.values()].filter(({ dtype }) => dtype === "I8").map(({ name }) => name);
    expect(int8).toContain("transformer_blocks.0.attn1.to_q.weight");
    expect(int8).toContain("transformer_blocks.0.ff.net.2.weight");
    expect(int8).toContain("out.weight");
    // The keys and values of a prompt are made once, in fp32.
    expect(int8.filter((name) => /attn2\.to_[kv]|norm|emb/.test(name))).toEqual([]);
  } finally {
    source.close();
    target.close();
  }
});

it("makes the tokens that the checkpoint it came from makes in int8", async () => {
  const cacheDir = await temporaryFolder();
  const tokens: Uint16Array[] = [];
  for (const dir of [TINY_CHECKPOINT, await converted()]) {
    const pipeline = await VQDiffusionPipeline.fromPretrained(dir, { quantization: "int8", cacheDir });
    try {
      const { latents } = await pipeline.call({ prompt: "a red cube", seed: 5, numInferenceSteps: 30 });
      tokens.push(...latents);
    } finally {
      await pipeline.release();
    }
  }
  expect(tokens[1]).toEqual(tokens[0]);
});

it("is whole to inspect, and converted back to floats", async () => {
  const dir = await converted();
  const { problems, components } = inspectCheckpoint(dir);
  expect(problems).toEqual([]);
  const before = inspectCheckpoint(TINY_CHECKPOINT).components;
  expect(components.map(({ parameters }) => parameters)).toEqual(before.map(({ parameters }) => parameters));
  expect(components.flatMap(({ unused }) => unused)).toEqual([]);
  const back = join(await temporaryFolder(), "back");
  await convertCheckpoint(dir, back, { dtype: "F32" });
  const [int8, floats] = [dir, back].map((folder) => SafetensorsFile.open(join(folder, TRANSFORMER)));
  try {
    expect(floats?.entries.get("out.weight")?.dtype).toBe("F32");
    expect(floats?.read("out.weight")).toEqual(int8?.read("out.weight"));
  } finally {
    int8?.close();
    floats?.close();
  }
});

it("refuses scales that are not one for each row", async () => {
  const dir = await converted();
  const path = join(dir, TRANSFORMER);
  const file = await readFile(path);
  const end = 8 + Number(file.readBigUInt64LE(0));
  // As many bytes, so that nothing but the shape is wrong.
  const header = file
    .subarray(8, end)
    .toString()
    .replace(
      /("out\.weight_scale":\{"dtype":"F32","shape":\[)(\d+)\]/,
      (_, start: string, rows: string) => `${start}1,${rows}]`,
    )
    .trimEnd();
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  await writeFile(path, Buffer.concat([length, Buffer.from(header), file.subarray(end)]));
  expect(() => SafetensorsFile.open(path)).toThrow(
    /tensor out\.weight_scale is F32 \[1, 128\], but the scales of an int8 tensor \[128, 64\] must be F32/,
  );
});

it("rounds rows of zeros to zeros, and a rounded weight to itself", () => {
  const { values, scales } = quantizeWeight(Float32Array.of(0, 0, 1, -0.25), 2);
  expect([...values]).toEqual([0, 0, 127, -32]);
  const once = dequantizeWeight(values, scales);
  expect(quantizeWeight(once, 2).values).toEqual(values);
});
