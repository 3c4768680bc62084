// Edits, variations and forks: what is held stays, where a run begins, and that it ends as if it had not been interrupted.

import * as fc from "fast-check";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import type { CallOptions } from "../../gpu-worker/pipeline/call.ts";
import { encodeImageFile, type RgbImage } from "../../gpu-worker/pipeline/image.ts";
import { type DenoiseSlot, VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { StepNoise } from "../../gpu-worker/pipeline/sampling/random.ts";
import { VQDiffusionScheduler } from "../../gpu-worker/pipeline/sampling/scheduler.ts";
import { stepsSpared } from "../../gpu-worker/pipeline/sampling/start.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const STEPS = 6;

const SAMPLERS: [string, Partial<CallOptions>][] = [
  ["posterior", { scheduler: "reference", numInferenceSteps: 12 }],
  ["posterior, strided", { scheduler: "strided" }],
  ["purity", { scheduler: "strided", priorRule: 2, priorWeight: 1 }],
  ["purity, remasking", { scheduler: "strided", priorRule: 1, remasking: 0.3 }],
  ["confidence", { scheduler: "strided", order: "confidence" }],
  [
    "confidence, reference's timesteps, unguided",
    { scheduler: "reference", order: "confidence", guidanceScale: 1 },
  ],
  ["Halton, remasking", { scheduler: "strided", order: "halton", remasking: 0.4 }],
  [
    "confidence, remasking, truncated",
    { scheduler: "strided", order: "confidence", remasking: 0.1, truncationRate: 0.8 },
  ],
];

/** Smooth, with an edge, so that its encoding has many codes. */
function picture(width: number, height: number, seed = 0): RgbImage {
  const data = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) {
    const [x, y] = [(i % width) / width, Math.floor(i / width) / height];
    const inside = (x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.08;
    data.set([255 * x, inside ? 220 : 90 * y, (255 * (x + y + seed / 7)) / 2], 3 * i);
  }
  return { width, height, data };
}

const load = async (dir: string, drawsOnDevice = false): Promise<VQDiffusionPipeline> =>
  VQDiffusionPipeline.fromPretrained(dir, { threads: 2, cacheDir: await temporaryFolder(), drawsOnDevice });

describe("q(x_t | x_0)", () => {
  // Replaces far more often than the usual schedule, which hardly does.
  const scheduler = new VQDiffusionScheduler({
    num_vec_classes: 9,
    num_train_timesteps: 20,
    alpha_cum_start: 0.95,
    alpha_cum_end: 0.1,
    gamma_cum_start: 0.02,
    gamma_cum_end: 0.5,
  });
  const DRAWS = 40_000;

  it.each([0, 7, 19])("has the tables' probabilities at t = %d, within 4 standard errors", (t) => {
    const token = 3;
    const counts = new Array<number>(9).fill(0);
    for (let draw = 0; draw < DRAWS; draw++) {
      const noise = new StepNoise(11, draw >> 6, t);
      const k = scheduler.addNoise(token, t, noise.ofSource(draw & 63));
      counts[k] = (counts[k] ?? 0) + 1;
    }
    const { cumA, cumB, cumC } = scheduler.tables;
    for (const [k, count] of counts.entries()) {
      const p = k === 8 ? (cumC[t] ?? 0) : (cumB[t] ?? 0) + (k === token ? (cumA[t] ?? 0) : 0);
      expect(Math.abs(count - DRAWS * p), `class ${k}`).toBeLessThan(4 * Math.sqrt(DRAWS * p * (1 - p)));
    }
  });
});

describe("the step at which a run begins", () => {
  const strided = [99, 74, 50, 25, 0];

  it.each([
    [0, 5],
    [0.001, 4],
    [0.25, 4],
    [0.26, 3],
    [0.5, 3],
    [0.51, 2],
    [0.99, 1],
    [1, 0],
  ])("with a strength of %d is the first below that share of all timesteps: %d", (strength, step) => {
    expect(stepsSpared(strided, { strength }, 100)).toBe(step);
  });

  it("with a strength above 0 is the last at the latest", () => {
    expect(stepsSpared([99, 79, 59, 39, 20], { strength: 0.1 }, 100)).toBe(4);
  });

  it("of a fork is its own step between equal timesteps, else the first that is not above the state's", () => {
    for (let step = 0; step <= 5; step++) {
      expect(stepsSpared(strided, { step, timesteps: strided }, 100)).toBe(step);
    }
    const reference = Array.from({ length: 100 }, (_, i) => 99 - i);
    const from = (step: number): number => stepsSpared(strided, { step, timesteps: reference }, 100);
    // x_50, then x_49; x_0 is not finished, and is after step 99; after 100 the image is.
    expect([0, 49, 50, 99, 100].map(from)).toEqual([0, 2, 3, 4, 5]);
    expect(stepsSpared([99, 50], { step: 99, timesteps: reference }, 100)).toBe(1);
    expect(() => from(101)).toThrow("step must be an integer from 0 to 100");
  });
});

describe.each([
  ["tiny", { dir: TINY_CHECKPOINT, masks: 25, samplers: SAMPLERS, drawsOnDevice: false }],
  // As on a GPU: classes are drawn in the graph.
  ["tiny, drawing", { dir: TINY_CHECKPOINT, masks: 5, samplers: SAMPLERS, drawsOnDevice: true }],
  // A step of it takes a while where other tests run.
  [
    "bundled",
    {
      dir: BUNDLED_MODEL,
      masks: 2,
      samplers: SAMPLERS.filter(([name]) => name === "confidence"),
      drawsOnDevice: false,
    },
  ],
])("on the %s checkpoint", (_, { dir, masks, samplers, drawsOnDevice }) => {
  let pipeline: VQDiffusionPipeline;
  let image: RgbImage;
  let encoded: Uint16Array;
  beforeAll(async () => {
    pipeline = await load(dir, drawsOnDevice);
    image = picture(pipeline.info.imageWidth, pipeline.info.imageHeight);
    encoded = await pipeline.encodeImage(image);
  });
  afterAll(() => pipeline.release());

  const call = (options: Partial<CallOptions>) =>
    pipeline.call({ prompt: "red apple", guidanceScale: 3, numInferenceSteps: STEPS, seed: 5, ...options });

  it.each(samplers)("what is held stays, in tokens and in pixels: %s", async (_name, sampler) => {
    const { imageWidth: width, imageHeight: height, latentWidth, latentHeight } = pipeline.info;
    const scale = width / latentWidth;
    const rectangles = fc.array(
      fc.tuple(fc.nat(width - 1), fc.nat(height - 1), fc.integer({ min: 1, max: width }), fc.nat(1)),
      { minLength: 1, maxLength: 4 },
    );
    await fc.assert(
      fc.asyncProperty(rectangles, fc.nat(1_000), fc.constantFrom(1, 0.6), async (shapes, seed, strength) => {
        // White where it is made anew: rectangles on each other, white and black.
        const mask: RgbImage = { width, height, data: new Uint8Array(3 * width * height) };
        for (const [left, top, side, white] of shapes) {
          for (let y = top; y < Math.min(height, top + side); y++) {
            for (let x = left; x < Math.min(width, left + side); x++) {
              mask.data.fill(255 * white, 3 * (y * width + x), 3 * (y * width + x) + 3);
            }
          }
        }
        const isFree = (pixel: number): boolean => mask.data[3 * pixel] === 255;
        const free = new Set<number>();
        for (let pixel = 0; pixel < width * height; pixel++) {
          if (!isFree(pixel)) continue;
          const [x, y] = [pixel % width, Math.floor(pixel / width)];
          free.add(Math.floor(y / scale) * latentWidth + Math.floor(x / scale));
        }
        const seen: boolean[] = [];
        const { latents, images } = await call({
          ...sampler,
          image,
          mask,
          seed,
          strength,
          feather: 3,
          onStep: (_step, _total, slots) =>
            void seen.push(
              slots.every(({ tokens }) => tokens.every((token, i) => free.has(i) || token === encoded[i])),
            ),
        });
        expect(seen.length).toBeGreaterThan(0);
        expect(seen).not.toContain(false);
        const [codes = new Uint16Array()] = latents;
        expect(codes.length).toBe(latentWidth * latentHeight);
        expect(
          codes.every(
            (token, i) => token < pipeline.info.numEmbeddings && (free.has(i) || token === encoded[i]),
          ),
        ).toBe(true);
        const [made] = images;
        const png = await encodeImageFile(made as RgbImage, "png");
        const pixels = await sharp(png).raw().toBuffer();
        expect(pixels.every((value, i) => isFree(Math.floor(i / 3)) || value === image.data[i])).toBe(true);
      }),
      { numRuns: masks },
    );
  });

  it.each(samplers)("a strength of 0 gives the source back, and 1 ignores it: %s", async (_name, sampler) => {
    const back = await call({ ...sampler, image, strength: 0 });
    expect(back.latents).toEqual([encoded]);
    expect(back.images).toEqual(await pipeline.decode([encoded]));
    const plain = await call({ ...sampler, outputType: "latents" });
    const anew = await call({ ...sampler, outputType: "latents", image, strength: 1 });
    expect(anew.latents).toEqual(plain.latents);
    expect(anew.latents).not.toEqual([encoded]);
  });

  it.each(samplers)(
    "a fork without changes ends in the same tokens, from each step: %s",
    async (_name, sampler) => {
      const states: Uint16Array[] = pipeline.prepareLatents(1);
      const whole = await call({
        ...sampler,
        outputType: "latents",
        onStep: (_step, _total, [slot]) => void states.push(slot?.tokens.slice() ?? new Uint16Array()),
      });
      for (const step of new Set([0, 1, Math.floor(states.length / 2), states.length - 1])) {
        const latents = states.slice(step, step + 1);
        let steps = 0;
        const fork = await call({
          ...sampler,
          outputType: "latents",
          latents,
          step,
          onStep: () => void steps++,
        });
        expect(fork.latents, `from step ${step}`).toEqual(whole.latents);
        expect(steps).toBe(states.length - 1 - step);
        // What was given is left as it was.
        expect(latents[0]).toEqual(states[step]);
      }
    },
  );

  it("an edit is the same alone and among others, and continues from any of its states", async () => {
    const [prompt] = await pipeline.encodePrompt([pipeline.tokenize("red apple").ids]);
    const negative = await pipeline.encodeNegativePrompt(null);
    if (prompt === undefined) throw new Error("nothing was encoded");
    const held = Uint8Array.from(encoded, (_token, i) => (i % 3 === 0 ? 1 : 0));
    const isEdit = (i: number): boolean => i % 2 === 0;
    const slots = (states?: readonly DenoiseSlot[]): DenoiseSlot[] =>
      samplers.map(([, sampler], i) => {
        const [masked = encoded] = pipeline.prepareLatents(1);
        const start = isEdit(i) ? { strength: i % 4 === 0 ? 1 : 0.7 } : undefined;
        const state = states?.[i];
        return pipeline.makeSlot({
          prompt,
          negative,
          guidanceScale: 3,
          truncationRate: 1,
          numInferenceSteps: STEPS,
          ...(sampler as object),
          tokens: (state?.tokens ?? (isEdit(i) ? encoded : masked)).slice(),
          held: isEdit(i) ? held : undefined,
          ...(state === undefined ? { start } : { stepIndex: state.stepIndex }),
          seed: i,
          image: 0,
        });
      });
    const alone = slots();
    for (const slot of alone) await pipeline.denoise([slot]);
    const together = slots();
    await pipeline.denoise(together);
    expect(together.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens));
    // As a worker continues: from tokens and step alone, with what the job says is held.
    const interrupted = slots();
    for (const slot of interrupted)
      if (slot.stepIndex < slot.timesteps.length) await pipeline.stepSlots([slot]);
    const resumed = slots(interrupted);
    await pipeline.denoise(resumed.toReversed());
    expect(resumed.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens));
  });

  it("variations differ more from their source the stronger they are", async () => {
    const changed = async (strength: number): Promise<number> => {
      const { latents } = await call({
        image,
        strength,
        scheduler: "strided",
        numInferenceSteps: 10,
        order: "confidence",
        outputType: "latents",
        numImagesPerPrompt: 2,
      });
      return latents.reduce((sum, codes) => sum + codes.filter((code, i) => code !== encoded[i]).length, 0);
    };
    const [none, some, much] = [await changed(0), await changed(0.4), await changed(0.9)];
    expect(none).toBe(0);
    expect(some).toBeGreaterThan(0);
    expect(much).toBeGreaterThan(some ?? 0);
  });
});

describe("options that contradict each other", () => {
  let pipeline: VQDiffusionPipeline;
  beforeAll(async () => {
    pipeline = await load(TINY_CHECKPOINT);
  });
  afterAll(() => pipeline.release());

  it.each<[string, (made: { image: RgbImage; tokens: Uint16Array }) => Partial<CallOptions>, string]>([
    ["a mask alone", ({ image }) => ({ mask: image }), "mask needs an image or latents"],
    ["a strength alone", () => ({ strength: 1 }), "strength needs an image or latents"],
    ["two sources", ({ image, tokens }) => ({ image, latents: [tokens] }), "image cannot be given together"],
    ["two masks", ({ image }) => ({ image, mask: image, held: new Uint8Array(64) }), "held cannot be given"],
    [
      "step and strength",
      ({ tokens }) => ({ latents: [tokens], step: 1, strength: 1 }),
      "step cannot be given",
    ],
    ["a step of an image", ({ image }) => ({ image, step: 1 }), "step needs latents"],
    ["a strength above 1", ({ image }) => ({ image, strength: 1.5 }), "strength must be from 0 to 1"],
    [
      "a step too many",
      ({ tokens }) => ({ latents: [tokens], step: 7 }),
      "step must be an integer from 0 to 6",
    ],
    ["a blend of nothing", ({ image }) => ({ image, feather: 2 }), "feather needs an image and a mask"],
    [
      "too wide a feather",
      ({ image }) => ({ image, mask: image, feather: 65 }),
      "feather must be an integer",
    ],
    [
      "too few held",
      ({ tokens }) => ({ latents: [tokens], held: new Uint8Array(3) }),
      "held must be 64 numbers",
    ],
    [
      "held masks",
      () => ({ latents: pipeline.prepareLatents(1), held: new Uint8Array(64).fill(1) }),
      "held must not include masked",
    ],
    [
      "an unfinished source",
      () => ({ latents: pipeline.prepareLatents(1), strength: 0.5 }),
      "latents must not include masked",
    ],
    [
      "alpha of none",
      ({ image }) => ({ image, mask: image, maskChannel: "alpha" }),
      "mask has no alpha channel",
    ],
    [
      "a mask of another size",
      ({ image }) => ({ image, mask: picture(16, 32) }),
      "mask must have the size of the image, 16x16 pixels, not 16x32",
    ],
    [
      "three sources for two",
      ({ tokens }) => ({ latents: [tokens, tokens, tokens], numImagesPerPrompt: 2 }),
      "latents must hold one image or 2, not 3",
    ],
  ])("are refused: %s", async (_, options, message) => {
    const { imageWidth, imageHeight } = pipeline.info;
    const image = picture(imageWidth, imageHeight);
    const tokens = await pipeline.encodeImage(image);
    const refused = pipeline.call({ prompt: "x", numInferenceSteps: STEPS, ...options({ image, tokens }) });
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toHaveProperty("name", "InvalidInputError");
  });
});
