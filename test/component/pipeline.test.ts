// What the pipeline promises its callers: the same image from the same seed, alone, in a batch or resumed.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { encodeImageFile } from "../../gpu-worker/pipeline/image.ts";
import { type DenoiseSlot, type SlotInit, VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import type { DiffusionScheduler } from "../../gpu-worker/pipeline/sampling/scheduler.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const CHECKPOINTS = { tiny: TINY_CHECKPOINT, bundled: BUNDLED_MODEL };
const PROMPTS = ["grinning face, flat style", "red apple", "a cat on the moon", ""];

// Generous, because the bundled model keeps all cores busy, and so may other tests.

describe.each(Object.entries(CHECKPOINTS))("on the %s checkpoint", (_, dir) => {
  let pipeline: VQDiffusionPipeline;
  beforeAll(async () => {
    // Two threads, because how work is split between them must not show either.
    pipeline = await VQDiffusionPipeline.fromPretrained(dir, {
      threads: 2,
      cacheDir: await temporaryFolder(),
    });
  });
  afterAll(() => pipeline.release());

  /** Slots that differ in all that slots can differ in, the step they are at included. */
  async function mixedSlots(): Promise<DenoiseSlot[]> {
    const prompts = await pipeline.encodePrompt(PROMPTS.map((prompt) => pipeline.tokenize(prompt).ids));
    const unconditional = await pipeline.encodeNegativePrompt(null);
    const negative = await pipeline.encodeNegativePrompt(pipeline.tokenize("blue").ids);
    return prompts.map((prompt, i) => {
      const [tokens = new Uint16Array()] = pipeline.prepareLatents(1);
      // As if some pixels were known already, other ones in each slot.
      for (let pixel = i; pixel < tokens.length; pixel += 2 + i) tokens[pixel] = (pixel * 31) % 100;
      return pipeline.makeSlot({
        tokens,
        stepIndex: [0, 3, 6, 1][i] ?? 0,
        numInferenceSteps: [8, 20, 8, 100][i] ?? 8,
        seed: 7 + i,
        image: i,
        guidanceScale: [5, 1, 3, 7.5][i] ?? 5,
        truncationRate: [1, 0.86, 1, 0.5][i] ?? 1,
        prompt,
        negative: i === 3 ? negative : unconditional,
      });
    });
  }

  it("steps a slot to the same tokens alone, in a batch and in another order", async () => {
    const alone = await mixedSlots();
    const together = await mixedSlots();
    const reversed = await mixedSlots();
    for (let step = 0; step < 2; step++) {
      for (const slot of alone) await pipeline.stepSlots([slot]);
      await pipeline.stepSlots(together);
      await pipeline.stepSlots(reversed.toReversed());
    }
    expect(together.map((slot) => slot.tokens)).toEqual(alone.map((slot) => slot.tokens));
    expect(reversed.map((slot) => slot.tokens)).toEqual(alone.map((slot) => slot.tokens));
    expect(together.map((slot) => slot.stepIndex)).toEqual([2, 5, 8, 3]);
  });

  it("makes the same image when the model is asked about every pixel of every step", async () => {
    const { scheduler } = pipeline;
    const asksAll: DiffusionScheduler = {
      numTrainTimesteps: scheduler.numTrainTimesteps,
      timesteps: (steps) => scheduler.timesteps(steps),
      maskedShare: (t) => scheduler.maskedShare(t),
      addNoise: (...args) => scheduler.addNoise(...args),
      drawPixel: (...args) => scheduler.drawPixel(...args),
      samplePixel: (...args) => scheduler.samplePixel(...args),
    };
    const options = {
      prompt: "red apple",
      numInferenceSteps: 12,
      seed: 9,
      guidanceScale: 3,
      numImagesPerPrompt: 2,
    };
    const latents: (readonly Uint16Array[])[] = [];
    for (const one of [scheduler, asksAll]) {
      const result = await pipeline.call({ ...options, scheduler: one, outputType: "latents" });
      latents.push(result.latents);
    }
    expect(latents[0]).toEqual(latents[1]);
  });

  it("makes image i of a prediction from (seed, i) only", async () => {
    const options = { prompt: "red apple", numInferenceSteps: 4, seed: 2 ** 40 + 1 };
    const three = await pipeline.call({ ...options, numImagesPerPrompt: 3 });
    const one = await pipeline.call(options);
    expect(one.latents[0]).toEqual(three.latents[0]);
    expect(new Set(three.latents.map((latents) => latents.join())).size).toBe(3);
    expect((await pipeline.call({ ...options, seed: 2 ** 40 })).latents[0]).not.toEqual(one.latents[0]);
  });
});

describe("the pipeline", () => {
  let pipeline: VQDiffusionPipeline;
  beforeAll(async () => {
    pipeline = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, {
      cacheDir: await temporaryFolder(),
    });
  });
  afterAll(() => pipeline.release());

  async function slot(init: Partial<SlotInit> = {}): Promise<DenoiseSlot> {
    const [prompt] = await pipeline.encodePrompt([pipeline.tokenize("red apple").ids]);
    const [tokens] = pipeline.prepareLatents(1);
    if (prompt === undefined || tokens === undefined) throw new Error("nothing was prepared");
    const negative = await pipeline.encodeNegativePrompt(null);
    return pipeline.makeSlot({
      tokens,
      image: 0,
      seed: 7,
      guidanceScale: 5,
      truncationRate: 0.9,
      numInferenceSteps: 12,
      prompt,
      negative,
      ...init,
    });
  }

  it.each([1, 6, 11])("resumes after step %d, from tokens and step alone, to the same end", async (step) => {
    const whole = await slot();
    await pipeline.denoise([whole]);

    const first = await slot();
    while (first.stepIndex < step) await pipeline.stepSlots([first]);
    const second = await slot({ tokens: first.tokens.slice(), stepIndex: first.stepIndex });
    await pipeline.denoise([second]);
    expect(second.tokens).toEqual(whole.tokens);
  });

  it("denoises slots that are not at the same step, each to its own end", async () => {
    const expected = await Promise.all([slot(), slot({ numInferenceSteps: 5, seed: 8 })]);
    for (const one of expected) await pipeline.denoise([one]);

    const slots = await Promise.all([slot(), slot({ numInferenceSteps: 5, seed: 8 })]);
    await pipeline.denoise(slots);
    await pipeline.denoise(slots);
    expect(slots.map(({ stepIndex }) => stepIndex)).toEqual([12, 5]);
    expect(slots.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
  });

  it("refuses to step a slot that is done, and leaves its neighbours alone", async () => {
    const [done, other] = [await slot({ stepIndex: 12 }), await slot()];
    await expect(pipeline.stepSlots([other, done])).rejects.toThrow("already completed 12 of 12 steps");
    expect(other.stepIndex).toBe(0);
    expect(other.tokens).toEqual(pipeline.prepareLatents(1)[0]);
  });

  it("starts from given latents and leaves them as they were", async () => {
    const given = new Uint16Array(64).fill(3);
    const options = { prompt: "red apple", numInferenceSteps: 2, seed: 7 };
    const { latents } = await pipeline.call({ ...options, latents: [given] });
    expect(given.every((token) => token === 3)).toBe(true);
    expect(latents[0]).not.toEqual((await pipeline.call(options)).latents[0]);
  });

  it("stops between two steps when it is aborted", async () => {
    const abort = new AbortController();
    const steps: number[] = [];
    const reason = new Error("enough");
    const call = pipeline.call({
      prompt: "red apple",
      seed: 7,
      signal: abort.signal,
      onStep(step) {
        steps.push(step);
        if (step === 3) abort.abort(reason);
      },
    });
    await expect(call).rejects.toBe(reason);
    expect(steps).toEqual([1, 2, 3]);
  });

  it.each([
    ["numInferenceSteps", { numInferenceSteps: 101 }],
    ["numInferenceSteps", { numInferenceSteps: Number.NaN }],
    ["guidanceScale", { guidanceScale: Number.NaN }],
    ["guidanceScale", { guidanceScale: -1 }],
    ["truncationRate", { truncationRate: 0 }],
    ["truncationRate", { truncationRate: 1.1 }],
    ["numImagesPerPrompt", { numImagesPerPrompt: 0 }],
    ["numImagesPerPrompt", { numImagesPerPrompt: 1.5 }],
    ["numImagesPerPrompt", { numImagesPerPrompt: Infinity }],
    ["seed", { seed: -1 }],
    ["seed", { seed: 2 ** 53 }],
    ["prompt", { prompt: [] }],
    ["latents", { latents: [] }],
    ["latents", { latents: [new Uint16Array(63)] }],
    ["latents", { latents: [new Uint16Array(64).fill(129)] }],
  ])("refuses a bad %s by name: %j", async (field, options) => {
    await expect(pipeline.call({ prompt: "red apple", ...options })).rejects.toMatchObject({
      name: "InvalidInputError",
      field,
    });
  });

  it.each([-1, 13, 0.5])("refuses to begin at step %d of 12", async (stepIndex) => {
    await expect(slot({ stepIndex })).rejects.toMatchObject({ field: "stepIndex" });
  });

  it.each<[string, number, number, number]>([
    ["of another size", 8, 16, 8 * 16 * 3],
    ["with an alpha channel", 16, 16, 16 * 16 * 4],
    ["without all of its rows", 16, 16, 15 * 16 * 3],
    ["without data", 16, 16, 0],
  ])("refuses to encode an image %s", async (_, width, height, bytes) => {
    const encoding = pipeline.encodeImage({ width, height, data: new Uint8Array(bytes) });
    await expect(encoding).rejects.toMatchObject({ name: "InvalidInputError", field: "image" });
  });

  it.each(["png", "webp", "jpeg"] as const)("writes the same image as the same %s bytes", async (format) => {
    const codes = Uint16Array.from({ length: 64 }, (_, i) => (i * 7) % 128);
    const [first, second] = await pipeline.decode([codes, codes]);
    if (first === undefined || second === undefined) throw new Error("no images");
    expect(first).toMatchObject({ width: 16, height: 16 });
    expect(await encodeImageFile(first, format)).toEqual(await encodeImageFile(second, format));
  });
});
