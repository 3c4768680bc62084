// Purity sampling: who is unmasked when, with which numbers, and the pipeline's promises kept under it.

/* oxlint-disable unicorn/no-array-fill-with-reference-type -- StepNoise.fill is not Array.fill: it writes into its argument. */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DenoiseSlot, type SlotInit, VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { purityOrder, sharpen } from "../../gpu-worker/pipeline/sampling/purity.ts";
import { StepNoise } from "../../gpu-worker/pipeline/sampling/random.ts";
import { VQDiffusionScheduler } from "../../gpu-worker/pipeline/sampling/scheduler.ts";
import { StridedVQDiffusionScheduler } from "../../gpu-worker/pipeline/sampling/strided-scheduler.ts";
import {
  type Candidate,
  lowestRanked,
  maskedAfter,
} from "../../gpu-worker/pipeline/sampling/unmasking/order.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

describe("sharpening", () => {
  it.each([
    [0, [0.5, 0.3, 0.2]],
    // Exponent 1 + 0.5 * 2 = 2, relative to the largest.
    [2, [1, 0.36, 0.16]],
  ])("with weight %d raises to 1 + purity * weight", (weight, expected) => {
    const probabilities = Float64Array.of(0.5, 0.3, 0.2);
    expect(sharpen(probabilities, weight)).toBe(0.5);
    for (const [k, p] of probabilities.entries()) expect(p).toBeCloseTo(expected[k] ?? 0, 15);
  });

  it("keeps a flat distribution flat, whatever the weight", () => {
    const flat = new Float64Array(1024).fill(1 / 1024);
    expect(sharpen(flat, 1_000)).toBe(1 / 1024);
    expect(new Set(flat)).toEqual(new Set([1]));
  });
});

describe("the draw of positions", () => {
  const candidates = [0.05, 0.1, 0.25, 0.6].map((purity, position): Candidate => ({
    position,
    purity,
    confidence: purity,
    token: 10 + position,
  }));
  const drawByPurity = (from: readonly Candidate[], count: number, noise: StepNoise): Candidate[] =>
    lowestRanked(from, count, (candidate) => purityOrder(0).rank(candidate, { noise, maskedShare: 0 }));
  const positions = (drawn: readonly Candidate[]): number[] => drawn.map(({ position }) => position);

  it("takes each first as often as its share of the purity", () => {
    const counts = [0, 0, 0, 0];
    const draws = 20_000;
    for (let image = 0; image < draws; image++) {
      const [first = 0] = positions(drawByPurity(candidates, 1, new StepNoise(7, image, 50)));
      counts[first] = (counts[first] ?? 0) + 1;
    }
    const chiSquare = candidates.reduce(
      (sum, { purity }, i) => sum + ((counts[i] ?? 0) - draws * purity) ** 2 / (draws * purity),
      0,
    );
    // 3 degrees of freedom: above 16.3 in one of 1,000 seeds, and this seed is fixed.
    expect(chiSquare).toBeLessThan(16.3);
  });

  it("takes none twice, all if asked for more, and none if asked for fewer than one", () => {
    const noise = new StepNoise(7, 0, 50);
    expect(positions(drawByPurity(candidates, 9, noise)).toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3]);
    expect(drawByPurity(candidates, 0, noise)).toEqual([]);
    expect(drawByPurity(candidates, -1, noise)).toEqual([]);
  });

  it("does not depend on the order of the candidates, nor on those that lose", () => {
    const noise = new StepNoise(7, 0, 50);
    const winners = drawByPurity(candidates, 2, noise);
    expect(drawByPurity(candidates.toReversed(), 2, noise)).toEqual(winners);
    const withoutOneLoser = candidates.filter(
      (candidate) => winners.includes(candidate) || candidate.position === 3,
    );
    expect(drawByPurity(withoutOneLoser, 2, noise)).toEqual(winners);
  });

  it("uses numbers of its own, which no class has", () => {
    const noise = new StepNoise(7, 2, 50);
    const classes = new Float64Array(1025);
    noise.fill(classes, 3);
    const own = [0, 1, 2, 3].map((position) => noise.ofPosition(position));
    expect(own.every((u) => u > 0 && u < 1 && !classes.includes(u))).toBe(true);
    const elsewhere = [new StepNoise(8, 2, 50), new StepNoise(7, 1, 50), new StepNoise(7, 2, 49)];
    expect(new Set([...own, ...elsewhere.map((other) => other.ofPosition(3))]).size).toBe(7);
  });
});

describe("the number of masked pixels", () => {
  const config = {
    num_train_timesteps: 100,
    num_vec_classes: 1025,
    alpha_cum_start: 0.99999,
    alpha_cum_end: 0.000009,
    gamma_cum_start: 0.000009,
    gamma_cum_end: 0.98,
  };

  it.each([
    ["strided", new StridedVQDiffusionScheduler(config)],
    ["reference", new VQDiffusionScheduler(config)],
  ])("falls evenly from all to none under the %s scheduler", (_, scheduler) => {
    for (const n of [1, 2, 5, 50, 100]) {
      const timesteps = scheduler.timesteps(n);
      const masked = timesteps.map((t) => maskedAfter(scheduler, timesteps, t, 256));
      const unmasked = masked.map((count, i) => count - (masked[i + 1] ?? 0)).slice(0, -1);
      expect(masked[0]).toBe(256);
      expect(maskedAfter(scheduler, timesteps, -1, 256)).toBe(0);
      // Steps differ by at most one timestep, and counts are rounded at both ends.
      if (n > 1) expect(Math.max(...unmasked) - Math.min(...unmasked)).toBeLessThanOrEqual(256 / 99 + 1);
    }
  });
});

describe("a run on the tiny checkpoint", () => {
  const PIXELS = 64;
  let pipeline: VQDiffusionPipeline;
  beforeAll(async () => {
    pipeline = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, {
      cacheDir: await temporaryFolder(),
    });
  });
  afterAll(() => pipeline.release());

  async function slot(init: Partial<SlotInit> = {}): Promise<DenoiseSlot> {
    const [prompt] = await pipeline.encodePrompt([pipeline.tokenize("red apple").ids]);
    if (prompt === undefined) throw new Error("nothing was encoded");
    return pipeline.makeSlot({
      tokens: new Uint16Array(PIXELS).fill(pipeline.info.numEmbeddings),
      image: 0,
      seed: 7,
      guidanceScale: 5,
      truncationRate: 0.9,
      numInferenceSteps: 10,
      scheduler: "strided",
      priorRule: 2,
      priorWeight: 1,
      prompt,
      negative: await pipeline.encodeNegativePrompt(null),
      ...init,
    });
  }

  const maskCount = ({ tokens }: DenoiseSlot): number =>
    tokens.filter((token) => token === pipeline.info.numEmbeddings).length;

  it.each([
    ["reference", 1, 0],
    ["reference", 2, 1],
    ["strided", 1, 0],
    ["strided", 2, 1],
  ] as const)("unmasks what the %s schedule says, rule %d, and keeps it", async (scheduler, rule, weight) => {
    const one = await slot({ scheduler, priorRule: rule, priorWeight: weight });
    for (const s of [...one.timesteps.slice(1), -1]) {
      const before = one.tokens.slice();
      await pipeline.stepSlots([one]);
      expect(maskCount(one)).toBe(maskedAfter(one.scheduler, one.timesteps, s, PIXELS));
      const known = [...before].flatMap((token, i) => (token < pipeline.info.numEmbeddings ? [i] : []));
      if (s >= 0) expect(known.every((i) => one.tokens[i] === before[i])).toBe(true);
    }
    expect(maskCount(one)).toBe(0);
  });

  it("resumes at every step, from tokens and step alone, to the same end", async () => {
    const whole = await slot();
    await pipeline.denoise([whole]);
    for (let step = 0; step <= 10; step++) {
      const first = await slot();
      while (first.stepIndex < step) await pipeline.stepSlots([first]);
      const second = await slot({ tokens: first.tokens.slice(), stepIndex: step });
      await pipeline.denoise([second]);
      expect(second.tokens, `step ${step}`).toEqual(whole.tokens);
    }
  });

  it("does not depend on its neighbours, whatever they are sampled with", async () => {
    const make = (): Promise<DenoiseSlot[]> =>
      Promise.all([
        slot(),
        slot({ priorRule: 1, priorWeight: 0, seed: 8, truncationRate: 1 }),
        slot({ priorRule: 0, priorWeight: 0, scheduler: "reference" }),
        slot({ numInferenceSteps: 3, guidanceScale: 1, image: 1 }),
      ]);
    const alone = await make();
    for (const one of alone) await pipeline.denoise([one]);
    const together = await make();
    await pipeline.denoise(together.toReversed());
    expect(together.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens));
    expect(new Set(alone.map(({ tokens }) => tokens.join())).size).toBe(4);
  });

  it("starts from latents with more known pixels than the schedule has by then", async () => {
    const tokens = Uint16Array.from({ length: PIXELS }, (_, i) => (i < 60 ? 5 : 128));
    const one = await slot({ tokens });
    await pipeline.stepSlots([one]);
    expect(maskCount(one)).toBe(4);
    await pipeline.denoise([one]);
    expect(maskCount(one)).toBe(0);
  });

  it("is the ordinary run with rule 0, and with a single step", async () => {
    const latents = async (init: Partial<SlotInit>): Promise<Uint16Array> => {
      const one = await slot(init);
      await pipeline.denoise([one]);
      return one.tokens;
    };
    const plain = { priorRule: undefined, priorWeight: undefined };
    expect(await latents({ priorRule: 0, priorWeight: 0 })).toEqual(await latents(plain));
    expect(await latents({})).not.toEqual(await latents(plain));
    expect(await latents({ numInferenceSteps: 1 })).toEqual(
      await latents({ ...plain, numInferenceSteps: 1 }),
    );
  });

  it("makes the reference's tokens with the strided scheduler and all steps, and others with fewer", async () => {
    const latents = async (scheduler: "reference" | "strided", numInferenceSteps: number) => {
      const options = { prompt: "red apple", seed: 7, truncationRate: 0.9, outputType: "latents" } as const;
      return (await pipeline.call({ ...options, scheduler, numInferenceSteps })).latents;
    };
    expect(await latents("strided", 100)).toEqual(await latents("reference", 100));
    expect(await latents("strided", 10)).not.toEqual(await latents("reference", 10));
  });
});
