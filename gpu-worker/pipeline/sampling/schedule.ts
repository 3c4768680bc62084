// The mask-and-replace schedule: probabilities of keeping, replacing and masking a latent pixel, per step and cumulative.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { SchedulerConfig } from "../../checkpoint/config.ts";

/**
 * arXiv 2111.14822, eq. 7-8: in one step a pixel keeps its class with probability a + b, changes to each other class with
 * b, and is masked with c. The cumulative tables have one more entry at the end, for t = -1.
 */
export interface TransitionTables {
  readonly a: Float64Array;
  readonly b: Float64Array;
  readonly c: Float64Array;
  readonly cumA: Float64Array;
  readonly cumB: Float64Array;
  readonly cumC: Float64Array;
}

/**
 * One move of the reverse process, from x_t to x_s: T > t > s >= -1, where x_{-1} is the finished image, x_0. Steps in an order can
 * be at the same timestep; s is t then.
 */
export interface Jump {
  readonly t: number;
  readonly s: number;
}

/** The jump that step `stepIndex` of a run makes: to the next timestep, or from the last one to the image. */
export function jumpAt(timesteps: readonly number[], stepIndex: number): Jump | undefined {
  const t = timesteps[stepIndex];
  if (t === undefined) return undefined;
  const [next = -1] = timesteps.slice(stepIndex + 1);
  return { t, s: next };
}

/** How many steps of the run before step `stepIndex` were at its timestep. */
export function passAt(timesteps: readonly number[], stepIndex: number): number {
  let pass = 0;
  while (pass < stepIndex && timesteps[stepIndex - pass - 1] === timesteps[stepIndex]) pass++;
  return pass;
}

/** The entry of timestep `t` >= -1 in a cumulative table, whose last entry is that of t = -1. */
export const cumulativeAt = (table: Float64Array, t: number): number =>
  table[t < 0 ? table.length - 1 : t] ?? outOfBounds();

/**
 * q(x_t | x_s) as one step: a, b and c of the product of the transition matrices s+1 ... t. These matrices have the same
 * form as the cumulative ones (arXiv 2111.14822, eq. 8), so dividing the cumulative tables undoes the first s steps; for
 * s = t-1 this gives the schedule's own a, b and c, bit for bit. `classes` excludes the mask.
 */
export function transitionBetween(
  { cumA, cumC }: Pick<TransitionTables, "cumA" | "cumC">,
  { t, s }: Jump,
  classes: number,
): { a: number; b: number; c: number } {
  const a = cumulativeAt(cumA, t) / cumulativeAt(cumA, s);
  const c = 1 - (1 - cumulativeAt(cumC, t)) / (1 - cumulativeAt(cumC, s));
  return { a, b: (1 - a - c) / classes, c };
}

/** Linear cumulative schedules between the ends given in the config, as in the reference. */
export function transitionTables(config: SchedulerConfig): TransitionTables {
  const steps = config.num_train_timesteps;
  const classes = config.num_vec_classes - 1;
  const ramp = (start: number, end: number): number[] =>
    Array.from({ length: steps }, (_, t) =>
      steps === 1 ? start : (t / (steps - 1)) * (end - start) + start,
    );

  const cumA = Float64Array.of(...ramp(config.alpha_cum_start, config.alpha_cum_end), 1);
  const cumC = Float64Array.of(...ramp(config.gamma_cum_start, config.gamma_cum_end), 0);
  const cumB = cumA.map((keep, t) => (1 - keep - (cumC[t] ?? outOfBounds())) / classes);
  const single = Array.from({ length: steps }, (_, t) =>
    transitionBetween({ cumA, cumC }, { t, s: t - 1 }, classes),
  );
  return {
    a: Float64Array.from(single, ({ a }) => a),
    b: Float64Array.from(single, ({ b }) => b),
    c: Float64Array.from(single, ({ c }) => c),
    cumA,
    cumB,
    cumC,
  };
}
