// A worker checks its model against what the checkpoint says, and is not satisfied by less.

import { cp, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { CheckpointError } from "../../gpu-worker/checkpoint/errors.ts";
import { CheckpointFolder } from "../../gpu-worker/checkpoint/files/folder.ts";
import { type Golden, readGolden } from "../../gpu-worker/checkpoint/golden.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/index.ts";
import { referenceSteps } from "../../gpu-worker/serving/device-check.ts";
import { recordGolden, selfCheck, SelfCheckError } from "../../gpu-worker/serving/self-check.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

let pipeline: VQDiffusionPipeline;
let golden: Golden;
beforeAll(async () => {
  pipeline = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, { cacheDir: await temporaryFolder() });
  golden = await recordGolden(pipeline, "a picture");
});
afterAll(() => pipeline.release());

it("passes what was recorded, after a way through its file", async () => {
  const dir = join(await temporaryFolder(), "tiny");
  await cp(TINY_CHECKPOINT, dir, { recursive: true });
  expect(readGolden(new CheckpointFolder(dir))).toBeUndefined();
  await writeFile(join(dir, "golden.json"), JSON.stringify(golden));
  const { error, agreement } = await selfCheck(pipeline, readGolden(new CheckpointFolder(dir)) as Golden);
  expect(error).toBeLessThan(1e-4);
  expect(agreement).toBe(1);
  await writeFile(join(dir, "golden.json"), '{"v":1,"cases":[]}');
  expect(() => readGolden(new CheckpointFolder(dir))).toThrow(CheckpointError);
});

it("computes steps for a checkpoint that has none, once, in fp32 on the CPU for a GPU", async () => {
  const cacheDir = await temporaryFolder();
  // As on a GPU, but for the provider.
  const onDevice = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, {
    cacheDir,
    quantization: "fp16",
    drawsOnDevice: true,
  });
  try {
    const reference = () => referenceSteps(TINY_CHECKPOINT, onDevice, { provider: "cuda", cacheDir });
    const made = await reference();
    expect(made.isRecorded).toBe(false);
    // The steps of fp32: without any error there, and with fp16's here.
    expect((await selfCheck(pipeline, made.golden)).error).toBeLessThan(1e-4);
    expect((await selfCheck(onDevice, made.golden)).error).toBeGreaterThan(1e-4);
    const folder = join(cacheDir, "golden");
    const [file = ""] = await readdir(folder);
    const kept: Golden = { ...made.golden, cases: made.golden.cases.slice(0, 1) };
    await writeFile(join(folder, file), JSON.stringify(kept));
    expect((await reference()).golden).toEqual(kept);
    await writeFile(join(folder, file), "{");
    expect((await reference()).golden).toEqual(made.golden);
  } finally {
    await onDevice.release();
  }
});

/** The recorded steps, each changed. */
const changed = (change: (one: Golden["cases"][number]) => object): Golden => ({
  v: 1,
  cases: golden.cases.map((one) => Object.assign(structuredClone(one), change(one))),
});

it.each<[string, (one: Golden["cases"][number]) => object, RegExp]>([
  ["other probabilities", ({ top_log_prob: p }) => ({ top_log_prob: p.map((v) => v - 1) }), /off by 1\.000/],
  ["other classes", ({ top_class: c }) => ({ top_class: c.map((k) => (k + 1) % 128) }), /matches for \d/],
  ["a missing pixel", ({ top_class: c }) => ({ top_class: c.slice(1) }), /different lengths/],
  ["a smaller image", ({ tokens }) => ({ tokens: tokens.slice(1) }), /does not fit/],
  ["a class that is none", ({ tokens }) => ({ tokens: tokens.map(() => 130) }), /does not fit/],
  ["a recorded class that is none", ({ top_class: c }) => ({ top_class: c.map(() => 128) }), /does not fit/],
  ["a longer process", () => ({ timestep: 100 }), /does not fit/],
  ["a longer prompt", ({ prompt_ids: p }) => ({ prompt_ids: [...p, 0] }), /does not fit/],
])("refuses %s", async (_, change, reason) => {
  const checking = selfCheck(pipeline, changed(change));
  await expect(checking).rejects.toThrow(SelfCheckError);
  await expect(checking).rejects.toThrow(reason);
});

it.each(["none", "int8"] as const)("passes the bundled model in %s", async (quantization) => {
  const bundled = await VQDiffusionPipeline.fromPretrained(BUNDLED_MODEL, {
    cacheDir: await temporaryFolder(),
    quantization,
    threads: 2,
  });
  try {
    const { error, agreement } = await selfCheck(
      bundled,
      readGolden(new CheckpointFolder(BUNDLED_MODEL)) as Golden,
    );
    expect(error).toBeLessThan(quantization === "none" ? 1e-3 : 0.05);
    expect(agreement).toBeGreaterThan(0.98);
  } finally {
    await bundled.release();
  }
});
