// The mask-and-replace schedule: probabilities to keep, replace and mask a latent pixel, per step and cumulated.

import type { SchedulerConfig } from "../checkpoint/config.ts";

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

/** Linear cumulated schedules between the config's ends, as the reference makes them; `classes` is without the mask. */
export function transitionTables(config: SchedulerConfig): TransitionTables {
  const steps = config.num_train_timesteps;
  const classes = config.num_vec_classes - 1;
  const ramp = (start: number, end: number): number[] =>
    Array.from({ length: steps }, (_, t) =>
      steps === 1 ? start : (t / (steps - 1)) * (end - start) + start,
    );

  const cumA = ramp(config.alpha_cum_start, config.alpha_cum_end);
  const cumC = ramp(config.gamma_cum_start, config.gamma_cum_end);
  const a = cumA.map((value, t) => value / (t === 0 ? 1 : (cumA[t - 1] ?? 1)));
  const c = cumC.map((value, t) => 1 - (1 - value) / (t === 0 ? 1 : 1 - (cumC[t - 1] ?? 0)));
  const b = a.map((keep, t) => (1 - keep - (c[t] ?? 0)) / classes);
  const allA = [...cumA, 1];
  const allC = [...cumC, 0];
  const allB = allA.map((keep, t) => (1 - keep - (allC[t] ?? 0)) / classes);
  return {
    a: Float64Array.from(a),
    b: Float64Array.from(b),
    c: Float64Array.from(c),
    cumA: Float64Array.from(allA),
    cumB: Float64Array.from(allB),
    cumC: Float64Array.from(allC),
  };
}
