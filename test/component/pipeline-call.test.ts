// The pipeline as a library: what a call takes and gives, and pipelines that share what is loaded.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  encodeImageFile,
  type RgbImage,
  StridedVQDiffusionScheduler,
  VQDiffusionPipeline,
  VQDiffusionScheduler,
} from "@vqd/gpu-worker/pipeline";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const schedule = new DiffusersCheckpoint(TINY_CHECKPOINT).scheduler;
const call = { prompt: "red apple", numInferenceSteps: 4 };

const load = async (): Promise<VQDiffusionPipeline> =>
  VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, { cacheDir: await temporaryFolder() });

describe("a call", () => {
  let pipeline: VQDiffusionPipeline;
  beforeAll(async () => {
    pipeline = await load();
  });
  afterAll(() => pipeline.release());

  it("takes a seed for each image, which then is as if made alone", async () => {
    const { latents, seeds } = await pipeline.call({ ...call, numImagesPerPrompt: 2, seeds: [8, 9] });
    expect(seeds).toEqual([8, 9]);
    for (const [i, seed] of seeds.entries()) {
      expect((await pipeline.call({ ...call, seed })).latents[0]).toEqual(latents[i]);
    }
  });

  it("gives back seeds that make the same images again", async () => {
    const options = { ...call, prompt: ["red apple", "a cat"], numImagesPerPrompt: 2 };
    const random = await pipeline.call(options);
    expect(new Set(random.seeds).size).toBe(1);
    expect(new Set(random.latents.map((tokens) => tokens.join())).size).toBe(4);
    expect(await pipeline.call({ ...options, seeds: random.seeds })).toEqual(random);
    const mixed = await pipeline.call({ ...options, seeds: [7, 8, 7, 8] });
    expect(mixed.latents[0]).not.toEqual(mixed.latents[2]);
  });

  it("takes seeds of 64 bits, and small ones of either type", async () => {
    const latentsOf = async (seed: number | bigint) => (await pipeline.call({ ...call, seed })).latents;
    expect(await latentsOf(7n)).toEqual(await latentsOf(7));
    const large = await Promise.all([2n ** 64n - 1n, 2n ** 64n - 2n, 2n ** 63n - 1n, 0n].map(latentsOf));
    expect(new Set(large.map(([tokens]) => tokens?.join())).size).toBe(4);
    // Two images of one seed differ, whatever its type.
    const { latents } = await pipeline.call({ ...call, numImagesPerPrompt: 2, seeds: [7, 7n] });
    expect(latents[0]).not.toEqual(latents[1]);
  });

  it("makes images, their bytes, or neither", async () => {
    const options = { ...call, seed: 7 };
    const result = await pipeline.call(options);
    const [image] = result.images;
    if (image === undefined) throw new Error("no image");
    expect(image satisfies RgbImage).toMatchObject({ width: 16, height: 16 });
    expect((await encodeImageFile(image, "png")).subarray(1, 4)).toEqual(Buffer.from("PNG"));
    const bytes = await pipeline.call({ ...options, outputType: "rgb" });
    expect(bytes.images).toEqual([image.data]);
    expect(bytes.images[0]).toHaveLength(16 * 16 * 3);
    const neither = await pipeline.call({ ...options, outputType: "latents" });
    expect(neither).toEqual({ ...result, images: [] });
    expect(await pipeline.decode(neither.latents)).toEqual(result.images);
  });

  it("reports every step", async () => {
    const steps: number[] = [];
    await pipeline.call({
      ...call,
      numInferenceSteps: 7,
      onStep(step, total, slots) {
        expect({ total, at: slots[0]?.stepIndex }).toEqual({ total: 7, at: step });
        steps.push(step);
      },
    });
    expect(steps).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it("is not begun with an aborted signal, and stops before decoding", async () => {
    const reason = new Error("enough");
    const steps: number[] = [];
    const onStep = (step: number): number => steps.push(step);
    await expect(pipeline.call({ ...call, onStep, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(steps).toEqual([]);
    const abort = new AbortController();
    const late = pipeline.call({
      ...call,
      signal: abort.signal,
      onStep: (step, total) => step === total && abort.abort(reason),
    });
    await expect(late).rejects.toBe(reason);
  });

  it("ends with what the caller's onStep throws", async () => {
    const error = new Error("no");
    const onStep = (): void => {
      throw error;
    };
    await expect(pipeline.call({ ...call, onStep })).rejects.toBe(error);
  });

  it.each([
    ["seeds", { seeds: [7, 8] }],
    ["seeds", { seeds: [7], seed: 7 }],
    ["seed", { seeds: [0.5] }],
    ["seed", { seed: 2 ** 53 }],
    ["seed", { seed: 2n ** 64n }],
    ["negativePrompt", { negativePrompt: "blue", guidanceScale: 1 }],
    ["numImagesPerPrompt", { numImagesPerPrompt: 0 }],
    ["numImagesPerPrompt", { numImagesPerPrompt: 1.5 }],
    ["outputType", { outputType: "pil" as never }],
    ["scheduler", { scheduler: "ddim" as never }],
    ["scheduler", { scheduler: "constructor" as never }],
    ["scheduler", { scheduler: new VQDiffusionScheduler({ ...schedule, num_train_timesteps: 50 }) }],
    ["numInferenceSteps", { scheduler: "strided" as const, numInferenceSteps: 101 }],
    ["priorRule", { priorRule: 3 as never }],
    ["priorWeight", { priorRule: 2 as const, priorWeight: -1 }],
    ["priorWeight", { priorRule: 2 as const, priorWeight: Infinity }],
    ["priorWeight", { priorRule: 1 as const, priorWeight: 1 }],
    ["priorWeight", { priorWeight: 1 }],
  ])("refuses a bad %s by name", async (field, options) => {
    await expect(pipeline.call({ ...call, ...options })).rejects.toMatchObject({
      name: "InvalidInputError",
      field,
    });
  });
});

it("takes a scheduler of the caller's for one call, and frees the model once", async () => {
  const pipeline = await load();
  const options = { ...call, seed: 7, outputType: "latents" } as const;
  const scheduler = new StridedVQDiffusionScheduler(schedule);
  const expected = await pipeline.call({ ...options, scheduler: "strided" });
  expect(await pipeline.call({ ...options, scheduler })).toEqual(expected);
  expect(await pipeline.call(options)).not.toEqual(expected);

  await pipeline.release();
  await pipeline.release();
  await expect(pipeline.call(options)).rejects.toThrow("the pipeline has been released");
  expect(() => pipeline.model).toThrow("the pipeline has been released");
});

describe("pipelines of the same components", () => {
  const options = { ...call, seed: 7, outputType: "latents" } as const;

  it("differ by their scheduler and free the model when the last is released", async () => {
    const first = await load();
    const scheduler = new StridedVQDiffusionScheduler(schedule);
    const { components } = first;
    const second = VQDiffusionPipeline.fromComponents({ ...components, scheduler });
    expect(second.scheduler).toBe(scheduler);
    const expected = await first.call({ ...options, scheduler: "strided" });
    expect(await second.call(options)).toEqual(expected);
    expect(await first.call(options)).toEqual(await second.call({ ...options, scheduler: "reference" }));

    await first.release();
    await first.release();
    await expect(first.call(options)).rejects.toThrow("the pipeline has been released");
    expect(await second.call(options)).toEqual(expected);
    const third = VQDiffusionPipeline.fromComponents(components);
    await second.release();
    expect(await third.call({ ...options, scheduler })).toEqual(expected);
    await third.release();
    expect(() => third.components).toThrow("the pipeline has been released");
    expect(() => VQDiffusionPipeline.fromComponents(components)).toThrow(/released by all/);
  });
});
