// The draw from two numbers a pixel: the posterior's distribution, and only as much of the model's output as it needs.

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { SchedulerConfig } from "../../gpu-worker/checkpoint/config.ts";
import { JumpDraw, pick } from "../../gpu-worker/pipeline/sampling/jump-draw.ts";
import {
  type ImageLogProbs,
  type PixelView,
  PixelViews,
} from "../../gpu-worker/pipeline/sampling/pixel-view.ts";
import { StepNoise } from "../../gpu-worker/pipeline/sampling/random.ts";
import type { Jump } from "../../gpu-worker/pipeline/sampling/schedule.ts";
import { VQDiffusionScheduler } from "../../gpu-worker/pipeline/sampling/scheduler.ts";

const CLASSES = 6;
const MASK = CLASSES;
/** By how much is masked at the end: nearly all, as published models have it, and a tenth replaced instead. */
const schedule = (masked: number): SchedulerConfig => ({
  num_train_timesteps: 20,
  num_vec_classes: CLASSES + 1,
  alpha_cum_start: 0.99999,
  alpha_cum_end: 0.000009,
  gamma_cum_start: 0.000009,
  gamma_cum_end: masked,
});
const PROBABILITIES = Float64Array.of(0.4, 0.02, 0.3, 1e-12, 0.08, 0.2);

/** Knows everything, and promises nothing. */
const open = (probabilities: Float64Array): PixelView => ({
  probabilities: () => probabilities,
  atLeast: () => 0,
});

function posterior(scheduler: VQDiffusionScheduler, current: number, jump: Jump): Float64Array {
  const weights = new Float64Array(CLASSES + 1);
  scheduler.posterior(PROBABILITIES, current, jump, weights);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

describe.each([0.999_99, 0.9, 0.2])("with %d masked at the end", (masked) => {
  const scheduler = new VQDiffusionScheduler(schedule(masked));

  it.each<[string, number]>([
    ["masked", MASK],
    ["likely", 0],
    ["unlikely", 1],
    ["nearly impossible", 3],
  ])("draws the posterior of a %s pixel", (_, current) => {
    for (const jump of [
      { t: 19, s: 18 },
      { t: 12, s: 4 },
      { t: 1, s: 0 },
    ]) {
      const draw = new JumpDraw(scheduler.tables, jump, CLASSES);
      const draws = 20_000;
      const counts = new Array<number>(CLASSES + 1).fill(0);
      for (let image = 0; image < draws; image++) {
        const uniforms = new StepNoise(7, image, jump.t).ofDraw(current);
        const drawn = draw.draw(open(PROBABILITIES), current, uniforms);
        counts[drawn] = (counts[drawn] ?? 0) + 1;
      }
      for (const [k, p] of posterior(scheduler, current, jump).entries()) {
        // Five standard deviations, and two draws where hardly any are expected.
        const tolerance = 5 * Math.sqrt(draws * p * (1 - p)) + 2;
        expect(Math.abs((counts[k] ?? 0) - draws * p), `class ${k} after ${jump.t}`).toBeLessThan(tolerance);
      }
    }
  });
});

describe("what is asked of the model", () => {
  const scheduler = new VQDiffusionScheduler(schedule(0.999_99));
  const draw = new JumpDraw(scheduler.tables, { t: 12, s: 11 }, CLASSES);
  const sealed: PixelView = {
    probabilities: () => {
      throw new Error("not needed");
    },
    atLeast: () => 0.001,
  };

  it("is nothing for a pixel that stays masked", () => {
    expect(draw.draw(sealed, MASK, { change: 0.5, choice: 0.5 })).toBe(MASK);
    expect(() => draw.draw(sealed, MASK, { change: 0.9999, choice: 0.5 })).toThrow("not needed");
  });

  it("is not even a bound where the numbers alone say that a pixel stays", () => {
    const withoutModel: PixelView = { ...sealed, atLeast: () => expect.unreachable("not needed") };
    let asked = 0;
    for (let position = 0; position < 1000; position++) {
      const uniforms = new StepNoise(7, 0, 12).ofDraw(position);
      const current = position % (MASK + 1);
      if (draw.dependsOnModel(current, uniforms)) asked++;
      else expect(draw.draw(withoutModel, current, uniforms)).toBe(current);
    }
    // One step of twenty: about one masked pixel in twelve, and fewer of the others.
    expect(asked).toBeGreaterThan(20);
    expect(asked).toBeLessThan(150);
    expect(
      new JumpDraw(scheduler.tables, { t: 0, s: -1 }, CLASSES).dependsOnModel(2, {
        change: 0.5,
        choice: 0.5,
      }),
    ).toBe(true);
  });

  it("is a bound for a pixel that keeps its class", () => {
    expect(draw.draw(sealed, 2, { change: 0.5, choice: 0.5 })).toBe(2);
    expect(() => draw.draw(sealed, 2, { change: 1e-12, choice: 0.5 })).toThrow("not needed");
  });

  const unit = fc.double({ min: 1e-9, max: 1 - 1e-9, noNaN: true });
  const image = fc.record({
    logits: fc.array(fc.double({ min: -40, max: 40, noNaN: true }), {
      minLength: 2 * CLASSES,
      maxLength: 2 * CLASSES,
    }),
    guided: fc.boolean(),
    guidanceScale: fc.constantFrom(1.5, 5, 20),
    temperature: fc.constantFrom(1, 0.5, 0.01, 2),
    truncationRate: fc.constantFrom(1, 0.86, 0.1),
  });
  it("makes no difference to the draw, and the bound holds", () => {
    fc.assert(
      fc.property(
        image,
        fc.nat(MASK),
        fc.record({ change: unit, choice: unit }),
        fc.constantFrom({ t: 19, s: 18 }, { t: 12, s: 4 }, { t: 3, s: 0 }, { t: 5, s: -1 }),
        fc.constantFrom(0.999_99, 0.9),
        ({ logits, guided, guidanceScale, temperature, truncationRate }, current, uniforms, jump, masked) => {
          const input: ImageLogProbs = {
            logProbs: Float32Array.from([
              ...logSoftmax(logits.slice(0, CLASSES)),
              ...logSoftmax(logits.slice(CLASSES)),
            ]),
            conditional: CLASSES,
            unconditional: guided ? 0 : undefined,
            guidanceScale,
            temperature,
            truncationRate,
          };
          const all = new PixelViews(CLASSES).at(input, 0).probabilities();
          for (const k of all.keys()) {
            expect(new PixelViews(CLASSES).at(input, 0).atLeast(k)).toBeLessThanOrEqual(all[k] ?? 0);
          }
          const { tables } = new VQDiffusionScheduler(schedule(masked));
          const one = new JumpDraw(tables, jump, CLASSES);
          const drawn = one.draw(open(all), current, uniforms);
          expect(one.draw(new PixelViews(CLASSES).at(input, 0), current, uniforms)).toBe(drawn);
          if (!one.dependsOnModel(current, uniforms)) expect(drawn).toBe(current);
        },
      ),
      { numRuns: 500 },
    );
  });
});

function logSoftmax(logits: readonly number[]): number[] {
  const largest = Math.max(...logits);
  const log = largest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
  return logits.map((logit) => logit - log);
}

describe("the choice", () => {
  it.each([
    [0.01, 0],
    [0.39, 0],
    [0.41, 1],
    [0.43, 2],
    [0.99, 5],
    [1 - Number.EPSILON, 5],
  ])("of u = %d by the cumulative sum is %d", (u, expected) => {
    expect(pick(PROBABILITIES, u)).toBe(expected);
  });

  it("never falls on a class without weight", () => {
    const weights = Float64Array.of(0, 0.5, 0, 0.5, 0);
    for (const u of [1e-17, 0.25, 0.5, 0.75, 1 - Number.EPSILON]) expect([1, 3]).toContain(pick(weights, u));
  });
});
