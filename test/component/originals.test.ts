// Models of the original code base, converted: every stage and whole runs against what its own classes computed.

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { inspectCheckpoint } from "../../gpu-worker/checkpoint/inspect.ts";
import { convertCheckpoint } from "../../gpu-worker/checkpoint/convert.ts";
import type { Quantization } from "../../gpu-worker/graph/form.ts";
import { runParity } from "../../gpu-worker/parity/parity.ts";
import type { CallOptions } from "../../gpu-worker/pipeline/call.ts";
import { SkippingVQDiffusionScheduler } from "../../gpu-worker/pipeline/sampling/skipping-scheduler.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { recordGolden, selfCheck } from "../../gpu-worker/serving/self-check.ts";
import { converted, MODEL_NAMES, type ModelName, ORIGINALS } from "../support/originals.ts";
import { temporaryFolder } from "../support/tiny.ts";

const folders = new Map<ModelName, string>();
let cacheDir: string;
beforeAll(async () => {
  cacheDir = await temporaryFolder();
  for (const name of MODEL_NAMES) folders.set(name, await converted(name));
});

const folderOf = (name: ModelName): string => folders.get(name) ?? "";
const parity = (name: ModelName, checkpoint: string, quantization: Quantization) =>
  runParity({
    checkpoint,
    vectors: join(ORIGINALS, name, "vectors.json"),
    provider: "cpu",
    quantization,
    threads: 1,
    cacheDir,
  });

describe.each(MODEL_NAMES)("%s", (name) => {
  it("is complete", () => {
    const { problems, components } = inspectCheckpoint(folderOf(name));
    expect(problems).toEqual([]);
    expect(components.flatMap(({ unused }) => unused)).toEqual([]);
  });

  it("computes what the original does, and draws its tokens at every step", async () => {
    const { stages, runs, pass } = await parity(name, folderOf(name), "none");
    const failed = [...Object.entries(stages), ...Object.entries(runs)].filter(
      ([, result]) => result?.pass === false,
    );
    expect({ failed, pass }).toEqual({ failed: [], pass: true });
    expect(Object.keys(runs).length).toBeGreaterThan(1);
    expect(stages["transformer"]?.cases).toBe(4);
    for (const stage of ["tables", "vq_decode", "vq_encode"]) expect(stages[stage]?.pass, stage).toBe(true);
  });

  it("agrees with it in int8, from int8 weights as from others", async () => {
    const small = join(await temporaryFolder(), "int8");
    await convertCheckpoint(folderOf(name), small, { dtype: "F32", quantization: "int8" });
    for (const folder of [folderOf(name), small]) {
      const { stages, pass } = await parity(name, folder, "int8");
      expect({ folder, pass }).toEqual({ folder, pass: true });
      expect(stages["transformer"]?.maxAbsDiff).toBeGreaterThan(0.001);
    }
  });
});

it.each(["class-learned", "none", "text-patch"] as const)(
  "%s computes in the forms for GPUs, too",
  async (name) => {
    for (const quantization of ["fp16", "w8a16"] as const) {
      const { stages, pass } = await parity(name, folderOf(name), quantization);
      expect({ quantization, pass }).toEqual({ quantization, pass: true });
      expect(stages["transformer"]?.maxAbsDiff).toBeGreaterThan(1e-4);
    }
    if (name === "text-patch") return;
    const drawing = { cacheDir, quantization: "fp16", drawsOnDevice: true } as const;
    await expect(VQDiffusionPipeline.fromPretrained(folderOf(name), drawing)).rejects.toThrow(
      "a model without a text encoder has no graph that draws",
    );
  },
);

it("a text model's graph draws as the original's sampler does, which draws itself what depends on other pixels", async () => {
  const load = (drawsOnDevice: boolean) =>
    VQDiffusionPipeline.fromPretrained(folderOf("text-patch"), {
      cacheDir,
      quantization: "fp16",
      drawsOnDevice,
    });
  const [drawing, plain] = [await load(true), await load(false)];
  try {
    for (const sampler of [
      { inferSpeed: 3 },
      { inferSpeed: 1, priorRule: 1 },
      { inferSpeed: 0.5, priorRule: 2, priorWeight: 1 },
    ] as const) {
      const options = {
        ...sampler,
        prompt: "teddy bear playing in the pool",
        seeds: [1, 2, 3, 4],
        numImagesPerPrompt: 4,
        outputType: "latents",
      } as const;
      const [found, expected] = [await drawing.call(options), await plain.call(options)];
      const tokens = expected.latents.flatMap((own) => Array.from(own));
      const other = found.latents.flatMap((own) => Array.from(own));
      const share = tokens.filter((token, i) => token === other[i]).length / tokens.length;
      // They are the same but for ties, since the graph draws in fp32 and the CPU in fp64.
      expect({ sampler, isAlike: share > 0.98 }, String(share)).toEqual({ sampler, isAlike: true });
    }
  } finally {
    await drawing.release();
    await plain.release();
  }
});

it("computes the original's purity sampling with its own numbers of tokens, and at half its speed", async () => {
  const { runs, pass } = await parity("text-patch-32x32", await converted("text-patch-32x32"), "none");
  expect(pass).toBe(true);
  // 25 timesteps; at half the speed most have two passes, of 20 tokens each.
  expect(Object.fromEntries(Object.entries(runs).map(([name, { steps }]) => [name, steps]))).toEqual({
    purity2_guided: 25,
    high_quality: 50,
  });
});

describe("stages that only some models have", () => {
  it("are compared for those", async () => {
    const patch = await parity("text-patch", folderOf("text-patch"), "none");
    for (const stage of ["openai_tokens", "text", "unconditional"]) {
      expect(patch.stages[stage]?.pass, stage).toBe(true);
    }
    const mean = await parity("class", folderOf("class"), "none");
    expect([mean.stages["unconditional"]?.pass, mean.stages["text"]]).toEqual([true, null]);
    const none = await parity("none", folderOf("none"), "none");
    for (const stage of ["truncation", "posterior", "gumbel"])
      expect(none.stages[stage]?.pass, stage).toBe(true);
  });
});

describe("the pipeline of a model", () => {
  let byClass: VQDiffusionPipeline;
  let without: VQDiffusionPipeline;
  beforeAll(async () => {
    const load = (name: ModelName) =>
      VQDiffusionPipeline.fromPretrained(folderOf(name), { cacheDir, threads: 2 });
    byClass = await load("class-learned");
    without = await load("none");
  });
  afterAll(async () => {
    await Promise.all([byClass.release(), without.release()]);
  });

  it("that is conditioned by class takes labels, and refuses others", async () => {
    expect(byClass.info).toMatchObject({ conditioning: "class", textLength: 1, defaultGuidanceScale: 1.5 });
    const prompts = ["7", "407"];
    const { latents } = await byClass.call({ prompt: prompts, seed: 3, outputType: "latents" });
    expect(latents[0]).not.toEqual(latents[1]);
    expect(byClass.tokenize("Golden  Retriever")).toEqual({ ids: [207], tokenCount: 1, truncated: false });
    await expect(byClass.call({ prompt: "1000" })).rejects.toThrow("prompt must be one of its 1000 classes");
    await expect(byClass.call({ prompt: "" })).rejects.toThrow(
      "prompt must be one of its 1000 classes, by name",
    );
    await expect(byClass.call({ prompt: "retriever" })).rejects.toThrow(
      /by name or label, such as .*golden retriever/,
    );
    await expect(byClass.call({ prompt: "crane" })).rejects.toThrow("give one of the labels 134, 517");
    await expect(byClass.encodePrompt([[1000]])).rejects.toThrow("one label from 0 to 999");
    await expect(byClass.encodePrompt([[1, 2]])).rejects.toThrow("one label");
  });

  it("steers away from a class that is given as the negative prompt", async () => {
    const options = { prompt: "7", seed: 3, guidanceScale: 4, outputType: "latents" } as const;
    const plain = await byClass.call(options);
    const away = await byClass.call({ ...options, negativePrompt: "407" });
    expect(away.latents).not.toEqual(plain.latents);
  });

  it.each(["class", "none"] as const)("makes the same image alone and among others (%s)", async (kind) => {
    const pipeline = kind === "class" ? byClass : without;
    const prompt = kind === "class" ? ["7", "407", "12"] : ["", "", ""];
    const seeds = [5, 6, 7];
    const together = await pipeline.call({ prompt, seeds, outputType: "latents" });
    for (const [i, seed] of seeds.entries()) {
      const alone = await pipeline.call({ prompt: prompt[i] ?? "", seed, outputType: "latents" });
      expect(alone.latents[0]).toEqual(together.latents[i]);
    }
  });

  it("that is not conditioned takes no prompt and no guidance", async () => {
    const { images } = await without.call({ prompt: "", seed: 1 });
    expect(images[0]).toMatchObject({ width: 6, height: 6 });
    await expect(without.call({ prompt: "a face" })).rejects.toThrow("prompt must be empty");
    await expect(without.call({ prompt: "", guidanceScale: 2 })).rejects.toThrow(
      "guidanceScale must be at most 1, as the model is not conditioned, not 2",
    );
  });

  it("samples as the original at its speeds, and continues in the middle of a timestep", async () => {
    const call = (options: Partial<CallOptions>) =>
      byClass.call({ prompt: "7", seed: 3, outputType: "latents", ...options });
    const skipping = new SkippingVQDiffusionScheduler(
      new DiffusersCheckpoint(folderOf("class-learned")).scheduler,
      3,
    );
    const fast = await call({ inferSpeed: 4 });
    const ours = await call({ scheduler: skipping, numInferenceSteps: skipping.steps });
    expect(fast.latents).toEqual(ours.latents);

    // A tenth of the tokens of the model per timestep, in passes of one.
    const states: { tokens: Uint16Array; timestep: number | undefined }[] = [];
    const half = {
      prompt: "",
      seed: 3,
      inferSpeed: 0.5,
      priorRule: 2,
      priorWeight: 1,
      outputType: "latents",
    } as const;
    const slow = await without.call({
      ...half,
      onStep: (step, _total, [slot]) => {
        states.push({ tokens: slot?.tokens.slice() ?? new Uint16Array(), timestep: slot?.timesteps[step] });
      },
    });
    expect(states.length).toBeGreaterThan(20);
    const middle = states.findIndex(({ timestep }, i) => i > 2 && timestep === states[i - 1]?.timestep);
    const { tokens = new Uint16Array() } = states[middle] ?? {};
    const resumed = await without.call({ ...half, latents: [tokens], step: middle + 1 });
    expect(resumed.latents).toEqual(slow.latents);
    const batch = await without.call({ ...half, prompt: ["", ""], seed: undefined, seeds: [9, 3] });
    expect(batch.latents[1]).toEqual(slow.latents[0]);
    const other = await without.call({ ...half, priorWeight: 0 });
    expect(other.latents).not.toEqual(slow.latents);
  });

  it("refuses settings that the original's sampler does not have", async () => {
    const refused = async (options: Partial<CallOptions>, message: string): Promise<void> => {
      await expect(byClass.call({ prompt: "7", ...options })).rejects.toThrow(message);
    };
    await refused({ inferSpeed: 0.05 }, "inferSpeed must be from 0.1 to 10, not 0.05");
    await refused({ inferSpeed: 2, numInferenceSteps: 50 }, "numInferenceSteps must be 51");
    await refused({ inferSpeed: 2, priorRule: 1 }, "priorRule has no effect with inferSpeed 2");
    await refused({ inferSpeed: 0.5, priorRule: 0 }, "priorRule must be 1 or 2 with inferSpeed 0.5");
    await refused(
      { inferSpeed: 2, scheduler: "strided" },
      'inferSpeed only has an effect with scheduler "original"',
    );
    await refused({ inferSpeed: 2, order: "halton" }, 'order must be "posterior" with scheduler "original"');
    await refused({ scheduler: "original", priorRule: 1, remasking: 0.1 }, "remasking must be 0");
  });

  it("completes a grid that is given in part, as content_ratio was meant to", async () => {
    const { latents } = await without.call({ prompt: "", seed: 1, outputType: "latents" });
    const given = latents[0] ?? new Uint16Array();
    const half = given.length / 2;
    const held = Uint8Array.from(given, (_, i) => Number(i < half));
    const options = {
      prompt: "",
      seed: 2,
      latents: [given],
      held,
      strength: 1,
      outputType: "latents",
    } as const;
    const completed = (await without.call(options)).latents[0] ?? new Uint16Array();
    expect(completed.subarray(0, half)).toEqual(given.subarray(0, half));
    expect(completed.subarray(half)).not.toEqual(given.subarray(half));
    const slowly = (await without.call({ ...options, inferSpeed: 0.5 })).latents[0] ?? new Uint16Array();
    expect(slowly.subarray(0, half)).toEqual(given.subarray(0, half));
  });

  it.each(["class", "none"] as const)("checks itself against recorded steps (%s)", async (kind) => {
    const pipeline = kind === "class" ? byClass : without;
    const golden = await recordGolden(pipeline, kind === "class" ? "407" : "");
    expect((await selfCheck(pipeline, golden)).agreement).toBe(1);
  });
});
