// The graph that draws, against the sampler in JavaScript: the same classes but where two probabilities are within rounding.
/* oxlint-disable unicorn/no-array-fill-with-reference-type -- StepNoise.fill is not Array.fill: it writes into its argument. */

import { randomInt } from "node:crypto";
import { join } from "node:path";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { beforeAll, describe, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { drawClasses, SETTINGS } from "../../gpu-worker/graph/draw.ts";
import { GraphBuilder } from "../../gpu-worker/graph/onnx.ts";
import { type DenoiseSlot, type SlotInit, VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { drawRequest } from "../../gpu-worker/pipeline/device/drawn-step.ts";
import { PixelViews } from "../../gpu-worker/pipeline/sampling/pixel-view.ts";
import { StepNoise } from "../../gpu-worker/pipeline/sampling/random.ts";
import { jumpAt } from "../../gpu-worker/pipeline/sampling/schedule.ts";
import { VQDiffusionScheduler } from "../../gpu-worker/pipeline/sampling/scheduler.ts";
import {
  boolTensor,
  floatTensor,
  int32Data,
  int32Tensor,
  Session,
} from "../../gpu-worker/runtime/session.ts";
import { integers, runs, temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

describe("the tiny checkpoint, a graph that draws beside one that does not", () => {
  let onHost: VQDiffusionPipeline;
  let onDevice: VQDiffusionPipeline;

  beforeAll(async () => {
    const options = { threads: 1, cacheDir: await temporaryFolder() };
    onHost = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, options);
    onDevice = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, { ...options, drawsOnDevice: true });
    return async () => {
      await Promise.all([onHost.release(), onDevice.release()]);
    };
  });

  /** A slot of each pipeline at the same state. */
  async function slotsOf(
    text: string,
    init: Omit<SlotInit, "prompt" | "negative" | "seed" | "image"> & { seed?: number; image?: number },
  ): Promise<[DenoiseSlot, DenoiseSlot]> {
    const slotOf = async (pipeline: VQDiffusionPipeline): Promise<DenoiseSlot> => {
      const [prompt] = await pipeline.encodePrompt([pipeline.tokenize(text).ids]);
      if (prompt === undefined) throw new Error("no prompt");
      const negative = await pipeline.encodeNegativePrompt(null);
      const tokens = init.tokens.slice();
      return pipeline.makeSlot({ seed: 5, image: 0, ...init, tokens, prompt, negative });
    };
    return [await slotOf(onHost), await slotOf(onDevice)];
  }

  it("draws the same classes at every state of the six recorded runs, and the same most likely ones", async () => {
    let [drawn, different, previewed, unlike] = [0, 0, 0, 0];
    for (const [name, run] of Object.entries(runs)) {
      const { numEmbeddings, latentWidth, latentHeight } = onHost.info;
      const pixels = latentWidth * latentHeight;
      const images = run.prompts.length * run.num_images_per_prompt;
      const states = integers(`run.${name}.latents`);
      const checkpoint = new DiffusersCheckpoint(TINY_CHECKPOINT);
      const scheduler = new VQDiffusionScheduler(checkpoint.scheduler);
      for (let step = 0; step < Math.min(run.num_inference_steps, 100); step += 1) {
        const image = step % images;
        const before =
          step === 0
            ? new Uint16Array(pixels).fill(numEmbeddings)
            : Uint16Array.from(
                states.subarray(
                  ((step - 1) * images + image) * pixels,
                  ((step - 1) * images + image + 1) * pixels,
                ),
              );
        const text = run.prompts[Math.floor(image / run.num_images_per_prompt)] ?? "";
        const [wanted, found] = await slotsOf(text, {
          tokens: before,
          stepIndex: step,
          image,
          numInferenceSteps: run.num_inference_steps,
          guidanceScale: run.guidance_scale,
          truncationRate: run.truncation_rate,
          scheduler,
        });
        const likely = [new Uint16Array(pixels), new Uint16Array(pixels)] as const;
        await onHost.stepSlots([withPreview(wanted, likely[0])]);
        await onDevice.stepSlots([withPreview(found, likely[1])]);
        for (let i = 0; i < pixels; i++) {
          if (wanted.tokens[i] !== before[i] || found.tokens[i] !== before[i]) drawn++;
          if (wanted.tokens[i] !== found.tokens[i]) different++;
          previewed++;
          if (likely[0][i] !== likely[1][i]) unlike++;
        }
      }
    }
    expect(drawn).toBeGreaterThan(600);
    // Ties are counted, and none is known in these runs.
    expect({ different, unlike, previewed: previewed > 8_000 }).toEqual({
      different: 0,
      unlike: 0,
      previewed: true,
    });
  });

  it.each([
    { order: "confidence", truncationRate: 0.9, temperature: 0.8 },
    { order: "halton", truncationRate: 1 },
    { order: "confidence", truncationRate: 1, remasking: 0.2 },
    { priorRule: 2, priorWeight: 1, truncationRate: 0.8 },
    { priorRule: 1, truncationRate: 1 },
  ] as const)("unmasks the same pixels with $order, $priorRule, $remasking", async (settings) => {
    const [tokens] = onHost.prepareLatents(1);
    if (tokens === undefined) throw new Error("no latents");
    const [wanted] = await slotsOf("a cube", {
      tokens,
      numInferenceSteps: 12,
      guidanceScale: 3,
      scheduler: "strided",
      ...settings,
    });
    let different = 0;
    while (wanted.stepIndex < wanted.timesteps.length) {
      const [, found] = await slotsOf("a cube", {
        tokens: wanted.tokens,
        stepIndex: wanted.stepIndex,
        numInferenceSteps: 12,
        guidanceScale: 3,
        scheduler: "strided",
        ...settings,
      });
      await onHost.stepSlots([wanted]);
      await onDevice.stepSlots([found]);
      different += wanted.tokens.reduce((sum, token, i) => sum + (token === found.tokens[i] ? 0 : 1), 0);
    }
    // A tie in rank exchanges two pixels.
    expect(different).toBeLessThanOrEqual(2);
  });

  it.each([{}, { order: "confidence", remasking: 0.3 }] as const)(
    "leaves held pixels alone, with a preview as without, with %o",
    async (settings) => {
      const { numEmbeddings, latentWidth, latentHeight } = onHost.info;
      const pixels = latentWidth * latentHeight;
      const held = Uint8Array.from({ length: pixels }, (_, i) => (i % 3 === 0 ? 1 : 0));
      const tokens = Uint16Array.from(held, (isHeld, i) =>
        isHeld === 1 ? i % numEmbeddings : numEmbeddings,
      );
      const likely = [new Uint16Array(pixels), new Uint16Array(pixels)] as const;
      const base = {
        numInferenceSteps: 6,
        guidanceScale: 3,
        truncationRate: 1,
        scheduler: "strided",
      } as const;
      const [wanted, found] = await slotsOf("a cube", { tokens, held, ...base, ...settings });
      await onHost.denoise([withPreview(wanted, likely[0])]);
      await onDevice.denoise([withPreview(found, likely[1])]);
      expect(found.tokens).toEqual(wanted.tokens);
      expect(likely[1]).toEqual(likely[0]);
      for (const [i, isHeld] of held.entries()) if (isHeld === 1) expect(found.tokens[i]).toBe(tokens[i]);
    },
  );

  it("draws an image the same alone and beside others of any settings", async () => {
    const slots = async () => {
      const one = async (
        text: string,
        more: Partial<Omit<SlotInit, "seed" | "image">> & { seed?: number },
      ) => {
        const [tokens] = onHost.prepareLatents(1);
        if (tokens === undefined) throw new Error("no latents");
        const base = { tokens, numInferenceSteps: 10, guidanceScale: 1, truncationRate: 1 };
        const [, slot] = await slotsOf(text, { ...base, scheduler: "strided" as const, ...more });
        return slot;
      };
      return [
        await one("a cube", { guidanceScale: 4, truncationRate: 0.8 }),
        await one("two dogs", { order: "confidence" }),
        await one("a fox", { seed: 9, temperature: 0.5 }),
      ];
    };
    const [alone, together] = [await slots(), await slots()];
    for (const slot of alone) await onDevice.denoise([slot]);
    await onDevice.denoise(together);
    expect(together.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens));
  });

  it("moves nothing but ids, numbers of pixels and settings", async () => {
    const [tokens] = onHost.prepareLatents(1);
    if (tokens === undefined) throw new Error("no latents");
    const [, slot] = await slotsOf("a cube", {
      tokens,
      numInferenceSteps: 1,
      guidanceScale: 4,
      truncationRate: 1,
    });
    await onDevice.stepSlots([slot]);
    const { latentWidth, latentHeight, textLength } = onDevice.info;
    const pixels = latentWidth * latentHeight;
    // Four bytes each: tokens, the pixels of both rows, their classes and random numbers; three results; the prompt. One byte: that
    // nothing is truncated.
    const { inputs = 0, outputs = 0 } = onDevice.model.denoiser.transfer ?? {};
    expect(outputs).toBe(4 * 3 * pixels);
    expect(inputs).toBe(4 * (pixels + 2 * pixels + 3 * pixels + textLength + SETTINGS.length + 7) + 1);
    // The same for the published shape, with a preview.
    expect(4 * (6 * 1_024 + 77 + SETTINGS.length + 7) + 1 + 4 * 4 * 1_024).toBeLessThan(64_000);
  });
});

/** The slot, writing what the model considers most likely to `image`. */
const withPreview = (slot: DenoiseSlot, image: Uint16Array): DenoiseSlot =>
  Object.assign(slot, { mostLikely: () => image });

describe("100,000 random pixels", () => {
  const PASSES = 50;
  const PIXELS = 2_000;
  const CLASSES = 97;

  it("get the sampler's classes, but for ties within rounding", async () => {
    const path = join(await temporaryFolder(), "draw.onnx");
    const graph = new GraphBuilder("draw", path);
    drawClasses(graph, graph.input("log_probs", "float32", ["batch", "asked", CLASSES]), CLASSES);
    graph.finish();
    const session = await Session.create(path, { provider: "cpu", threads: 1 });
    const seed = randomInt(2 ** 31);
    let different = 0;
    try {
      for (let pass = 0; pass < PASSES; pass++) different += await comparePass(session, seed + pass);
    } finally {
      await session.release();
    }
    // fp32 knows a cumulative sum to about 1e-6, so one pixel in 10,000 is far more than ties can account for.
    expect(different, `seed ${seed}`).toBeLessThanOrEqual(10);
  });

  /** How many pixels get another class than from the sampler. All settings depend on `seed`. */
  async function comparePass(session: Session, seed: number): Promise<number> {
    const random = new StepNoise(seed, 0, 0);
    const unit = (i: number): number => random.ofPosition(i);
    // Half of the schedules replace classes as well as masking them.
    const scheduler = new VQDiffusionScheduler({
      num_train_timesteps: 100,
      num_vec_classes: CLASSES + 1,
      alpha_cum_start: 0.99999,
      alpha_cum_end: unit(1) < 0.5 ? 0.000009 : 0.2,
      gamma_cum_start: 0.000009,
      gamma_cum_end: unit(1) < 0.5 ? 0.99999 : 0.5,
    });
    const t = 1 + Math.floor(unit(2) * 98);
    const timesteps = unit(3) < 0.2 ? [t] : [t, Math.floor(unit(4) * t)];
    const jump = jumpAt(timesteps, 0);
    if (jump === undefined) throw new Error("no jump");
    const guidanceScale = unit(5) < 0.3 ? 1 : 1 + 6 * unit(6);
    const temperature = unit(7) < 0.5 ? 1 : 0.3 + 1.5 * unit(8);
    const truncationRate = unit(9) < 0.3 ? 1 : 0.05 + 0.94 * unit(10);
    const logProbs = randomLogProbs(seed);
    const noise = new StepNoise(seed, 1, t);
    const tokens = Uint16Array.from({ length: PIXELS }, (_, i) =>
      unit(100 + i) < 0.5 ? CLASSES : Math.floor(unit(PIXELS + 100 + i) * CLASSES),
    );
    const slot = {
      tokens,
      timesteps,
      guidanceScale,
      temperature,
      truncationRate,
      scheduler,
      remasking: 0,
      prompt: {},
      negative: {},
    } as unknown as DenoiseSlot;
    const all = [...tokens.keys()];
    const { settings } = drawRequest({ slot, jump, noise, evaluated: all, preview: undefined }, CLASSES);
    const uniforms = all.map((position) => noise.ofDraw(position));
    const perPixel = (values: number[]) => floatTensor(Float32Array.from(values), [1, PIXELS]);
    const made = await session.runAll(
      {
        log_probs: floatTensor(logProbs, [2, PIXELS, CLASSES]),
        conditional: int32Tensor(Int32Array.of(1), [1]),
        unconditional: int32Tensor(Int32Array.of(guidanceScale > 1 ? 0 : 1), [1]),
        current: int32Tensor(Int32Array.from(tokens), [1, PIXELS]),
        change: perPixel(uniforms.map(({ change }) => change)),
        choice: perPixel(uniforms.map(({ choice }) => choice)),
        settings: floatTensor(
          Float32Array.from(SETTINGS, (name) => settings[name]),
          [1, SETTINGS.length],
        ),
        // Also for an image that is not truncated, as beside one that is.
        truncates: boolTensor(truncationRate < 1 || unit(11) < 0.5),
      },
      ["classes"],
    );
    const found = int32Data(made["classes"] ?? outOfBounds());
    const views = new PixelViews(CLASSES);
    const image = {
      logProbs,
      conditional: PIXELS * CLASSES,
      unconditional: guidanceScale > 1 ? 0 : undefined,
      guidanceScale,
      temperature,
      truncationRate,
    };
    let different = 0;
    for (const position of all) {
      const current = tokens[position] ?? 0;
      const drawn = noise.ofDraw(position);
      // Those that keep their class whatever the model says are not asked for.
      if (!scheduler.dependsOnModel(current, jump, drawn)) continue;
      const wanted = scheduler.drawPixel(views.at(image, position), current, jump, drawn);
      if (wanted !== found[position]) different++;
    }
    return different;
  }

  /** log p of two rows, each pixel normalized, from nearly uniform to nearly certain. */
  function randomLogProbs(seed: number): Float32Array {
    const values = new Float32Array(2 * PIXELS * CLASSES);
    const row = new Float64Array(CLASSES);
    for (let pixel = 0; pixel < 2 * PIXELS; pixel++) {
      new StepNoise(seed, 2, pixel % 1_000).fill(row, pixel);
      const sharpness = 1 + (pixel % 13);
      let sum = 0;
      for (let k = 0; k < CLASSES; k++) sum += Math.exp(sharpness * (row[k] ?? 0));
      for (let k = 0; k < CLASSES; k++)
        values[pixel * CLASSES + k] = sharpness * (row[k] ?? 0) - Math.log(sum);
    }
    return values;
  }
});
