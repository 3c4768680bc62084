// Confidence and Halton order, remasking and the temperature: what they draw, and the pipeline's promises kept under them.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DenoiseSlot, type SlotInit, VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { confidenceOrder } from "../../gpu-worker/pipeline/sampling/unmasking/confidence.ts";
import { guidedProbabilities } from "../../gpu-worker/pipeline/sampling/guidance.ts";
import { haltonRanks } from "../../gpu-worker/pipeline/sampling/unmasking/halton.ts";
import { type DrawnPixel, drawRemasked } from "../../gpu-worker/pipeline/sampling/unmasking/remasking.ts";
import { StepNoise } from "../../gpu-worker/pipeline/sampling/random.ts";
import {
  type Candidate,
  lowestRanked,
  maskedAfter,
} from "../../gpu-worker/pipeline/sampling/unmasking/order.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

describe("the confidence order", () => {
  const candidates = [0.9, 0.2, 0.6, 0.4].map((confidence, position): Candidate => ({
    position,
    confidence,
    purity: 1,
    token: 1,
  }));
  const first = (image: number, maskedShare: number, count = 1): number[] =>
    lowestRanked(candidates, count, (candidate) =>
      confidenceOrder.rank(candidate, { noise: new StepNoise(7, image, 50), maskedShare }),
    ).map(({ position }) => position);

  it("takes the surest first once the noise has faded", () => {
    expect(first(0, 0, 4)).toEqual([0, 2, 3, 1]);
  });

  it("takes each first as often as its share of the confidence while the noise is whole", () => {
    // argmax of log p + Gumbel is a draw by p.
    const draws = 20_000;
    const counts = [0, 0, 0, 0];
    for (let image = 0; image < draws; image++) {
      const [position = 0] = first(image, 1);
      counts[position] = (counts[position] ?? 0) + 1;
    }
    const whole = 0.9 + 0.2 + 0.6 + 0.4;
    const chiSquare = candidates.reduce((sum, { confidence }, i) => {
      const expected = (draws * confidence) / whole;
      return sum + ((counts[i] ?? 0) - expected) ** 2 / expected;
    }, 0);
    // 3 degrees of freedom: above 16.3 in one of 1,000 seeds, and this seed is fixed.
    expect(chiSquare).toBeLessThan(16.3);
  });

  it("uses numbers that nothing else of a pixel has", () => {
    const noise = new StepNoise(7, 2, 50);
    const { change, choice } = noise.ofDraw(3);
    const numbers = [change, choice, noise.ofPosition(3), noise.ofConfidence(3)];
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(numbers.every((u) => u > 0 && u < 1)).toBe(true);
  });
});

describe("the Halton order", () => {
  it.each([
    [24, 24],
    [8, 8],
    [32, 32],
    [5, 3],
    [64, 64],
    [1, 1],
  ])("of %d x %d has each pixel once", (width, height) => {
    const ranks = haltonRanks(width, height);
    expect([...ranks].toSorted((a, b) => a - b)).toEqual([...ranks.keys()]);
  });

  it("begins as the sequence of bases 2 and 3 does", () => {
    // (1/2, 1/3), (1/4, 2/3), (3/4, 1/9), (1/8, 4/9), (5/8, 7/9), (3/8, 2/9) of 24 rows and columns.
    const order = [...haltonRanks(24, 24).entries()].toSorted(([, a], [, b]) => a - b);
    const places = order.slice(0, 6).map(([position]) => [Math.floor(position / 24), position % 24]);
    expect(places).toEqual([
      [12, 8],
      [6, 16],
      [18, 2],
      [3, 10],
      [15, 18],
      [9, 5],
    ]);
  });

  it("keeps those of one step apart: a tenth of them has no two neighbours", () => {
    const ranks = haltonRanks(24, 24);
    const step = [...ranks.keys()].filter((position) => (ranks[position] ?? 0) < 57);
    const isNeighbour = (a: number, b: number): boolean =>
      Math.abs(Math.floor(a / 24) - Math.floor(b / 24)) + Math.abs((a % 24) - (b % 24)) === 1;
    expect(step.some((a) => step.some((b) => isNeighbour(a, b)))).toBe(false);
  });
});

describe("the draw of pixels to mask again", () => {
  const pixels = [0.99, 0.4, 1, 0.8].map((confidence, position): DrawnPixel => ({ position, confidence }));
  const positions = (count: number, image = 0): number[] =>
    drawRemasked(pixels, count, new StepNoise(7, image, 50)).map(({ position }) => position);

  it("takes each first as often as its share of the doubt", () => {
    const draws = 20_000;
    const counts = [0, 0, 0, 0];
    for (let image = 0; image < draws; image++) {
      const [position = 0] = positions(1, image);
      counts[position] = (counts[position] ?? 0) + 1;
    }
    expect(counts[2]).toBe(0);
    const expected = [0.01, 0.6, 0, 0.2].map((doubt) => (draws * doubt) / 0.81);
    const chiSquare = [0, 1, 3].reduce(
      (sum, i) => sum + ((counts[i] ?? 0) - (expected[i] ?? 0)) ** 2 / (expected[i] ?? 1),
      0,
    );
    // 2 degrees of freedom: above 13.8 in one of 1,000 seeds, and this seed is fixed.
    expect(chiSquare).toBeLessThan(13.8);
  });

  it("takes those without doubt last, none twice, and all if asked for more", () => {
    expect(positions(4).at(-1)).toBe(2);
    expect(new Set(positions(9))).toEqual(new Set([0, 1, 2, 3]));
    expect(positions(0)).toEqual([]);
  });
});

describe("the temperature", () => {
  const logProbs = Float32Array.from([0.5, 0.3, 0.2, 0.2, 0.2, 0.6], Math.log);
  const draw = (guidance: number | undefined, temperature: number): number[] => {
    const out = new Float64Array(3);
    const uncond = guidance === undefined ? undefined : { logProbs, offset: 3 };
    guidedProbabilities(out, { logProbs, offset: 0 }, uncond, guidance ?? 1, temperature);
    return [...out];
  };

  it.each([
    // Squares of 0.5, 0.3, 0.2, and of p ~ c^2 / u after guidance 2: 1.25, 0.45, 0.0667.
    [undefined, 0.5, [0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38]],
    [2, 0.5, [0.883_05, 0.114_44, 0.002_51]],
    [undefined, 1, [0.5, 0.3, 0.2]],
    [2, 1, [0.707_55, 0.254_72, 0.037_74]],
  ])("sharpens what guidance %s leaves, at %d", (guidance, temperature, expected) => {
    for (const [k, p] of draw(guidance, temperature).entries()) expect(p).toBeCloseTo(expected[k] ?? 0, 5);
  });

  it.each([undefined, 3])("near 0 leaves the likeliest class alone, with guidance %s", (guidance) => {
    expect(draw(guidance, 0.01)[0]).toBeGreaterThan(0.999_999);
  });
});

describe("a run on the tiny checkpoint", () => {
  const PIXELS = 64;
  const STEPS = 9;
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
      numInferenceSteps: STEPS,
      scheduler: "strided",
      prompt,
      negative: await pipeline.encodeNegativePrompt(null),
      ...init,
    });
  }

  const SAMPLERS: [string, Partial<SlotInit>][] = [
    ["confidence", { order: "confidence" }],
    ["Halton", { order: "halton" }],
    ["confidence, unguided, sharp", { order: "confidence", guidanceScale: 1, temperature: 0.5 }],
    ["Halton, unguided, whole", { order: "halton", guidanceScale: 1, truncationRate: 1 }],
    ["confidence, reference's timesteps", { order: "confidence", scheduler: "reference" }],
    ["confidence, remasking", { order: "confidence", remasking: 0.2 }],
    ["Halton, remasking, unguided", { order: "halton", remasking: 0.5, guidanceScale: 1 }],
    ["purity, remasking all", { priorRule: 1, remasking: 1 }],
    ["posterior, sharp", { temperature: 0.5 }],
    ["purity, blunt", { priorRule: 2, priorWeight: 1, temperature: 1.5 }],
  ];
  const maskCount = ({ tokens }: DenoiseSlot): number =>
    tokens.filter((token) => token === pipeline.info.numEmbeddings).length;

  it.each(SAMPLERS.slice(0, 5))("%s unmasks what the schedule says, and keeps it", async (_, init) => {
    const one = await slot(init);
    expect(one.timesteps).toHaveLength(STEPS);
    for (const s of [...one.timesteps.slice(1), -1]) {
      const before = one.tokens.slice();
      const masked = maskCount(one);
      await pipeline.stepSlots([one]);
      expect(maskCount(one)).toBe(maskedAfter(one.scheduler, one.timesteps, s, PIXELS));
      // The last step takes its part, like the others.
      expect(masked - maskCount(one)).toBeGreaterThan(PIXELS / STEPS - 2);
      expect(
        before.every((token, i) => token === pipeline.info.numEmbeddings || one.tokens[i] === token),
      ).toBe(true);
    }
    expect(maskCount(one)).toBe(0);
  });

  it.each(SAMPLERS.filter(([, { remasking }]) => remasking !== undefined))(
    "%s masks its share again, and no more than the schedule leaves masked",
    async (_, init) => {
      const one = await slot(init);
      const mask = pipeline.info.numEmbeddings;
      for (const s of one.timesteps.slice(1)) {
        const before = one.tokens.slice();
        const drawn = PIXELS - maskCount(one);
        await pipeline.stepSlots([one]);
        const left = maskedAfter(one.scheduler, one.timesteps, s, PIXELS);
        expect(maskCount(one)).toBe(left);
        const again = before.filter((token, i) => token !== mask && one.tokens[i] === mask).length;
        expect(again).toBe(Math.min(Math.round((init.remasking ?? 0) * drawn), left));
      }
      await pipeline.denoise([one]);
      expect(maskCount(one)).toBe(0);
    },
  );

  it.each(SAMPLERS)("%s resumes at every step, from tokens and step alone", async (_, init) => {
    const whole = await slot(init);
    await pipeline.denoise([whole]);
    for (let step = 0; step <= STEPS; step++) {
      const first = await slot(init);
      while (first.stepIndex < step) await pipeline.stepSlots([first]);
      const second = await slot({ ...init, tokens: first.tokens.slice(), stepIndex: step });
      await pipeline.denoise([second]);
      expect(second.tokens, `step ${step}`).toEqual(whole.tokens);
    }
  });

  it("does not depend on neighbours, nor on previews", async () => {
    const alone = await Promise.all(SAMPLERS.map(([, init]) => slot(init)));
    for (const one of alone) await pipeline.denoise([one]);
    const together = await Promise.all(SAMPLERS.map(([, init]) => slot(init)));
    await pipeline.denoise(together.toReversed());
    expect(together.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens));
    const mostLikely = new Uint16Array(PIXELS);
    const previewed = await Promise.all(
      SAMPLERS.map(([, init]) => slot({ ...init, mostLikely: () => mostLikely })),
    );
    await pipeline.denoise(previewed);
    expect(previewed.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens));
    const plain = await Promise.all([slot(), slot({ priorRule: 2, priorWeight: 1 })]);
    await pipeline.denoise(plain);
    const all = [...alone, ...plain].map(({ tokens }) => tokens.join());
    expect(new Set(all).size).toBe(all.length);
  });

  it("makes every number of steps, from one to all", async () => {
    const { numTrainTimesteps } = pipeline.info;
    for (const [scheduler, numInferenceSteps] of [
      ["strided", 1],
      ["strided", numTrainTimesteps],
      ["reference", 1],
      ["reference", numTrainTimesteps],
    ] as const) {
      const one = await slot({ order: "confidence", scheduler, numInferenceSteps });
      expect(one.timesteps).toHaveLength(numInferenceSteps);
      await pipeline.denoise([one]);
      expect(maskCount(one)).toBe(0);
    }
  });

  it("changes with the seed and the image, in classes though not in Halton's order", async () => {
    for (const order of ["confidence", "halton"] as const) {
      const slots = await Promise.all(
        [{}, { seed: 8 }, { image: 1 }].map((init) => slot({ order, ...init })),
      );
      await pipeline.denoise(slots);
      expect(new Set(slots.map(({ tokens }) => tokens.join())).size).toBe(3);
    }
  });

  it.each([
    ["order", { order: "gibbs" as never }],
    ["numInferenceSteps", { order: "confidence" as const, numInferenceSteps: 0 }],
    ["numInferenceSteps", { order: "halton" as const, numInferenceSteps: 101 }],
    ["numInferenceSteps", { order: "halton" as const, numInferenceSteps: 2.5 }],
    ["temperature", { temperature: 0 }],
    ["temperature", { temperature: 2.1 }],
    ["temperature", { temperature: Number.NaN }],
    ["remasking", { order: "confidence" as const, remasking: 1.1 }],
    ["remasking", { order: "confidence" as const, remasking: Number.NaN }],
    ["remasking", { remasking: 0.1 }],
    ["priorRule", { order: "confidence" as const, priorRule: 1 as const }],
    ["priorRule", { order: "halton" as const, priorRule: 2 as const, priorWeight: 1 }],
    ["priorWeight", { order: "halton" as const, priorWeight: 1 }],
  ])("refuses a wrong %s: %o", async (field, init) => {
    await expect(slot(init)).rejects.toMatchObject({ name: "InvalidInputError", field });
  });
});
