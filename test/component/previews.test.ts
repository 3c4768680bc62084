// Previews: at which steps, of what, and that they leave the result alone.

import * as fc from "fast-check";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeMostLikely } from "../../gpu-worker/pipeline/sampling/most-likely.ts";
import { type DenoiseSlot, VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { fileEncoder } from "../../gpu-worker/jobs/file-encoder.ts";
import { Previews } from "../../gpu-worker/jobs/previews.ts";
import type { EventBody } from "../../gpu-worker/jobs/reporter.ts";
import { type Job, previewSteps } from "../../shared/job.ts";
import { createLogger } from "../../shared/log.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

describe("the steps that are shown", () => {
  it("are spread evenly between the first and the last", () => {
    expect(previewSteps(100, 3)).toEqual([25, 50, 75]);
    expect(previewSteps(10, 1)).toEqual([5]);
    expect(previewSteps(3, 10)).toEqual([1, 2]);
    expect(previewSteps(1, 3)).toEqual([]);
    expect(previewSteps(100, 0)).toEqual([]);
  });

  it("rise, and leave out the last", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000 }), fc.integer({ min: 0, max: 10 }), (total, previews) => {
        const steps = previewSteps(total, previews);
        expect(steps).toHaveLength(Math.min(previews, total - 1));
        expect(steps).toEqual([...new Set(steps)].toSorted((a, b) => a - b));
        expect(steps.every((step) => step >= 1 && step < total)).toBe(true);
      }),
    );
  });
});

describe("the most likely classes", () => {
  const log = Math.log;
  // Two pixels of three classes, without the prompt and then with it.
  const logProbs = Float32Array.from([0.5, 0.3, 0.2, 0.1, 0.1, 0.8, 0.4, 0.35, 0.25, 0.3, 0.3, 0.4], log);

  it("are those of the guided distribution", () => {
    const out = new Uint16Array(2);
    const output = { logProbs, conditional: 6, temperature: 1, truncationRate: 1 };
    writeMostLikely(out, { ...output, unconditional: undefined, guidanceScale: 1 }, 3);
    expect([...out]).toEqual([0, 2]);
    // By hand: p ~ u (c/u)^5 is 0.16, 0.65, 0.61 of the first pixel, 24.3, 24.3, 0.025 of the second.
    writeMostLikely(out, { ...output, unconditional: 0, guidanceScale: 5 }, 3);
    expect([...out]).toEqual([1, 0]);
  });
});

describe("previews of a job", () => {
  const STEPS = 8;
  let pipeline: VQDiffusionPipeline;
  beforeAll(async () => {
    pipeline = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, {
      cacheDir: await temporaryFolder(),
    });
  });
  afterAll(() => pipeline.release());

  const job: Job = {
    v: 1,
    id: "00".padEnd(26, "a"),
    shard: 0,
    model: "vqd/tiny",
    version: "ab".repeat(32),
    createdAt: 0,
    deadlineAt: 0,
    prompts: [[1]],
    negativePrompt: null,
    numInferenceSteps: STEPS,
    guidanceScale: 3,
    truncationRate: 1,
    numImagesPerPrompt: 2,
    seed: 1,
    scheduler: "reference",
    priorRule: 0,
    priorWeight: 0,
    outputFormat: "webp",
    outputQuality: 60,
    previews: 3,
  };

  async function run(settings: Partial<Job>, signal = new AbortController().signal) {
    const published: { body: EventBody; image: Uint8Array }[] = [];
    const asked = { ...job, ...settings };
    const previews = new Previews({
      job: asked,
      encode: fileEncoder(asked, undefined),
      pipeline,
      publisher: { publish: (body, image = new Uint8Array()) => published.push({ body, image }) },
      signal,
      log: createLogger(() => {}),
    });
    const [prompt] = await pipeline.encodePrompt([pipeline.tokenize("a red apple").ids]);
    const negative = await pipeline.encodeNegativePrompt(null);
    if (prompt === undefined) throw new Error("no conditioning");
    const slots: DenoiseSlot[] = pipeline.prepareLatents(2).map((tokens, image) =>
      pipeline.makeSlot({
        tokens,
        seed: 1,
        image,
        prompt,
        negative,
        numInferenceSteps: STEPS,
        guidanceScale: 3,
        truncationRate: 1,
        mostLikely: previews.mostLikely(image),
      }),
    );
    for (let step = 1; step <= STEPS; step++) {
      await pipeline.stepSlots(slots);
      previews.afterStep(step);
    }
    await previews.settled();
    return { published, latents: slots.map(({ tokens }) => tokens) };
  }

  it("show each image at each of the steps, in the job's format", async () => {
    const { published } = await run({});
    expect(published.map(({ body }) => body)).toEqual(
      [2, 4, 6].flatMap((step, preview) =>
        [0, 1].map((index) => ({
          type: "preview",
          index,
          preview,
          step,
          format: "webp",
          width: pipeline.info.imageWidth,
          height: pipeline.info.imageHeight,
        })),
      ),
    );
    for (const { image } of published) {
      expect(await sharp(image).metadata()).toMatchObject({ format: "webp", width: 16, height: 16 });
    }
    expect(new Set(published.map(({ image }) => Buffer.from(image).toString("hex"))).size).toBeGreaterThan(1);
  });

  it("do not change the image, and are not made unless asked for", async () => {
    const without = await run({ previews: 0 });
    expect(without.published).toEqual([]);
    expect((await run({})).latents).toEqual(without.latents);
  });

  it("are dropped when the job stops", async () => {
    expect((await run({}, AbortSignal.abort())).published).toEqual([]);
  });
});
