// The mask-and-replace schedule: probabilities to keep, replace and mask a latent pixel, per step and cumulated.

import type { SchedulerConfig } from "../../checkpoint/config.ts";

/**
 * arXiv 2111.14822, eq. 7-8: at a step a pixel keeps its class with probability a + b, turns into each other
 * class with b, and is masked with c. The cumulated tables have one more entry, which stands for "t = -1".
 */
export interface TransitionTables {
  readonly a: Float64Array;
  readonly b: Float64Array;
  readonly c: Float64Array;
  readonly cumA: Float64Array;
  readonly cumB: Float64Array;
  readonly cumC: Float64Array;
}

/** One move of the reverse process, from x_t to x_s: T > t > s >= -1, where x_{-1} is the finished picture, x_0. */
export interface Jump {
  readonly t: number;
  readonly s: number;
}

/** The jump that step `stepIndex` of a run makes: to the next timestep, and after the last one to the picture. */
export function jumpAt(timesteps: readonly number[], stepIndex: number): Jump | undefined {
  const t = timesteps[stepIndex];
  return t === undefined ? undefined : { t, s: timesteps[stepIndex + 1] ?? -1 };
}

/** Index of timestep `t` in the cumulated tables, whose last entry is that of t = -1. */
export const cumulatedIndex = (t: number, cumulated: Float64Array): number =>
  t < 0 ? cumulated.length - 1 : t;

/**
 * q(x_t | x_s) as one step: a, b and c of the product of the transition matrices s+1 ... t. Those matrices have the
 * same shape as the cumulated ones (arXiv 2111.14822, eq. 8), so dividing the cumulated tables undoes the first s
 * steps; for s = t-1 it gives the schedule's own a, b and c, bit by bit. `classes` is without the mask.
 */
export function transitionBetween(
  { cumA, cumC }: Pick<TransitionTables, "cumA" | "cumC">,
  { t, s }: Jump,
  classes: number,
): { a: number; b: number; c: number } {
  const a = (cumA[t] ?? 0) / (cumA[cumulatedIndex(s, cumA)] ?? 1);
  const c = 1 - (1 - (cumC[t] ?? 0)) / (1 - (cumC[cumulatedIndex(s, cumC)] ?? 0));
  return { a, b: (1 - a - c) / classes, c };
}

/** Linear cumulated schedules between the config's ends, as the reference makes them; `classes` is without the mask. */
export function transitionTables(config: SchedulerConfig): TransitionTables {
  const steps = config.num_train_timesteps;
  const classes = config.num_vec_classes - 1;
  const ramp = (start: number, end: number): number[] =>
    Array.from({ length: steps }, (_, t) =>
      steps === 1 ? start : (t / (steps - 1)) * (end - start) + start,
    );

  const cumA = Float64Array.of(...ramp(config.alpha_cum_start, config.alpha_cum_end), 1);
  const cumC = Float64Array.of(...ramp(config.gamma_cum_start, config.gamma_cum_end), 0);
  const cumB = cumA.map((keep, t) => (1 - keep - (cumC[t] ?? 0)) / classes);
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
