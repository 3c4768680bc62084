// The strided scheduler: which timesteps, and its jumps against the product of the single steps they stand for.

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { SchedulerConfig } from "../../gpu-worker/checkpoint/config.ts";
import { StepNoise } from "../../gpu-worker/pipeline/sampling/random.ts";
import { jumpAt, transitionBetween } from "../../gpu-worker/pipeline/sampling/schedule.ts";
import { VQDiffusionScheduler } from "../../gpu-worker/pipeline/sampling/scheduler.ts";
import { clampProbabilities } from "../../gpu-worker/pipeline/sampling/pixel-view.ts";
import { StridedVQDiffusionScheduler } from "../../gpu-worker/pipeline/sampling/strided-scheduler.ts";
import { maxDifference } from "../support/tiny.ts";

const config = (steps: number, classes: number): SchedulerConfig => ({
  num_train_timesteps: steps,
  num_vec_classes: classes + 1,
  alpha_cum_start: 0.99999,
  alpha_cum_end: 0.000009,
  gamma_cum_start: 0.000009,
  gamma_cum_end: 0.99999,
});

describe("the timesteps", () => {
  it("go from the first to the last in n different, even steps", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 1_000 }), fc.nat(), (steps, pick) => {
        const n = 2 + (pick % (steps - 1));
        const timesteps = new StridedVQDiffusionScheduler(config(steps, 2)).timesteps(n);
        const gaps = timesteps.slice(1).map((t, i) => (timesteps[i] ?? 0) - t);
        expect(timesteps).toHaveLength(n);
        expect([timesteps[0], timesteps.at(-1)]).toEqual([steps - 1, 0]);
        expect(Math.min(...gaps)).toBeGreaterThanOrEqual(1);
        expect(Math.max(...gaps) - Math.min(...gaps)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it.each([
    [1, [99]],
    [2, [99, 0]],
    [5, [99, 74, 50, 25, 0]],
  ])("for %d of 100 are %j", (n, expected) => {
    expect(new StridedVQDiffusionScheduler(config(100, 2)).timesteps(n)).toEqual(expected);
  });

  it.each([1, 2, 100])("are the reference's when all %d are taken", (steps) => {
    const [strided, reference] = [
      new StridedVQDiffusionScheduler(config(steps, 2)),
      new VQDiffusionScheduler(config(steps, 2)),
    ];
    expect(strided.timesteps(steps)).toEqual(reference.timesteps(steps));
  });

  it.each([0, -1, 101, 1.5, Number.NaN])("cannot be %d", (n) => {
    expect(() => new StridedVQDiffusionScheduler(config(100, 2)).timesteps(n)).toThrow(
      /numInferenceSteps must be an integer from 1 to 100/,
    );
  });

  it("pair up to jumps, the last of which ends at the image", () => {
    expect([0, 1, 2, 3].map((index) => jumpAt([9, 4, 0], index))).toEqual([
      { t: 9, s: 4 },
      { t: 4, s: 0 },
      { t: 0, s: -1 },
      undefined,
    ]);
  });
});

it("jumps over one timestep with the schedule's own rates", () => {
  const { tables } = new StridedVQDiffusionScheduler(config(100, 1024));
  for (let t = 0; t < 100; t++) {
    const { a, b, c } = transitionBetween(tables, { t, s: t - 1 }, 1024);
    expect([a, b, c]).toEqual([tables.a[t], tables.b[t], tables.c[t]]);
  }
});

/** q(x_t = column | x_{t-1} = row), the mask last. */
function stepMatrix({ tables, maskClass }: VQDiffusionScheduler, t: number): number[][] {
  const [a, b, c] = [tables.a[t] ?? 0, tables.b[t] ?? 0, tables.c[t] ?? 0];
  return Array.from({ length: maskClass + 1 }, (_, from) =>
    Array.from({ length: maskClass + 1 }, (_unused, to) => {
      if (from === maskClass) return to === maskClass ? 1 : 0;
      if (to === maskClass) return c;
      return from === to ? a + b : b;
    }),
  );
}

const product = (left: number[][], right: number[][]): number[][] =>
  left.map((row) => right.map((_, j) => row.reduce((sum, x, k) => sum + x * (right[k]?.[j] ?? 0), 0)));

/** q(x_to | x_from), one step after the other. */
function walk(scheduler: VQDiffusionScheduler, from: number, to: number): number[][] {
  let matrix: number[][] = Array.from({ length: scheduler.maskClass + 1 }, (_, i) =>
    Array.from({ length: scheduler.maskClass + 1 }, (_unused, j) => (i === j ? 1 : 0)),
  );
  for (let t = from + 1; t <= to; t++) matrix = product(matrix, stepMatrix(scheduler, t));
  return matrix;
}

const normalised = (weights: Float64Array): Float64Array => {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
};

const share = (min: number, max: number) => fc.double({ min, max, noNaN: true });

/** A schedule that masks and replaces, with all its rates well above rounding. */
const schedules = fc
  .record({
    steps: fc.integer({ min: 2, max: 12 }),
    classes: fc.integer({ min: 2, max: 6 }),
    maskedFirst: share(0.001, 0.2),
    maskedLast: share(0.5, 0.95),
    keptFirst: share(0.8, 0.95),
    keptLast: share(0.01, 0.5),
  })
  .map(
    ({ steps, classes, maskedFirst, maskedLast, keptFirst, keptLast }) =>
      new StridedVQDiffusionScheduler({
        num_train_timesteps: steps,
        num_vec_classes: classes + 1,
        // Of the unmasked pixels, those that have their class still.
        alpha_cum_start: (1 - maskedFirst) * keptFirst,
        alpha_cum_end: (1 - maskedLast) * keptLast,
        gamma_cum_start: maskedFirst,
        gamma_cum_end: maskedLast,
      }),
  );

it("has the posterior that the matrices of all single steps multiply to, within 1e-12", () => {
  const cases = fc.record({
    scheduler: schedules,
    n: fc.nat(),
    current: fc.nat(),
    weights: fc.array(share(0, 1), { minLength: 6, maxLength: 6 }),
  });
  fc.assert(
    fc.property(cases, ({ scheduler, n, current: pick, weights }) => {
      const classes = scheduler.maskClass;
      const current = pick % (classes + 1);
      const probabilities = normalised(Float64Array.from(weights.slice(0, classes), (w) => w + 1e-3));
      clampProbabilities(probabilities);
      const timesteps = scheduler.timesteps(1 + (n % scheduler.numTrainTimesteps));
      const out = new Float64Array(classes + 1);
      for (const [step, t] of timesteps.slice(0, -1).entries()) {
        const s = timesteps[step + 1] ?? 0;
        const [toS, jump, toT] = [walk(scheduler, -1, s), walk(scheduler, s, t), walk(scheduler, -1, t)];
        const expected = Float64Array.from({ length: classes + 1 }, (_, j) =>
          probabilities.reduce(
            (sum, p, k) =>
              sum + (p * (toS[k]?.[j] ?? 0) * (jump[j]?.[current] ?? 0)) / (toT[k]?.[current] ?? 0),
            0,
          ),
        );
        // Already a distribution, as sums over k of p(x_0 = k) q(x_s | x_t, x_0 = k) are.
        expect(expected.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12);
        scheduler.posterior(probabilities, current, { t, s }, out);
        expect(maxDifference(normalised(out), expected)).toBeLessThan(1e-12);
        expect(out.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12);
      }
    }),
  );
});

it("draws single steps like the reference, class by class", () => {
  const classes = 32;
  const [strided, reference] = [
    new StridedVQDiffusionScheduler(config(20, classes)),
    new VQDiffusionScheduler(config(20, classes)),
  ];
  expect(strided.tables).toEqual(reference.tables);
  const probabilities = normalised(Float64Array.from({ length: classes }, (_, k) => (k % 7) + 0.1));
  for (let t = 19; t >= 0; t--) {
    const noise = new StepNoise(7, 0, t);
    for (const current of [0, 5, classes]) {
      for (let position = 0; position < 8; position++) {
        const draw = (scheduler: VQDiffusionScheduler): number =>
          scheduler.samplePixel(probabilities, current, { t, s: t - 1 }, position, noise);
        expect(draw(strided)).toBe(draw(reference));
      }
    }
  }
});

it.each([1, 2, 5, 20])("leaves no mask after %d steps", (n) => {
  const classes = 8;
  const scheduler = new StridedVQDiffusionScheduler(config(20, classes));
  const probabilities = new Float64Array(classes).fill(1 / classes);
  const timesteps = scheduler.timesteps(n);
  for (let position = 0; position < 64; position++) {
    let current = classes;
    for (const step of timesteps.keys()) {
      const jump = jumpAt(timesteps, step);
      if (jump === undefined) throw new Error(`no step ${step}`);
      current = scheduler.samplePixel(probabilities, current, jump, position, new StepNoise(7, 0, jump.t));
    }
    expect(current).toBeLessThan(classes);
  }
});

it("masks a share of the image that rises with t from none", () => {
  const scheduler = new StridedVQDiffusionScheduler(config(100, 8));
  expect(scheduler.maskedShare(-1)).toBe(0);
  expect(scheduler.maskedShare(0)).toBeCloseTo(0.000009, 12);
  expect(scheduler.maskedShare(99)).toBeCloseTo(0.99999, 12);
});
