// Where in its run an image begins that does not begin fully masked, and its state there.

import { InvalidInputError } from "../errors.ts";
import { StepNoise } from "./random.ts";
import type { DiffusionScheduler } from "./scheduler.ts";

/**
 * What a slot's tokens are: a finished image, from which the run begins as far back as `strength` says, 0 to 1; or the state after
 * `step` steps of a run over `timesteps`.
 */
export type StartPoint =
  | { readonly strength: number }
  | { readonly step: number; readonly timesteps: readonly number[] };

/**
 * The number of steps of a run over `timesteps` that are left out. With a strength, the run begins at the first timestep below
 * strength * T, and makes no step at all for a strength of 0. From the state x_s of another run, it begins at its first timestep
 * that is not above s: the model never expects more noise than there is. Between equal timesteps that is the step itself. If
 * there is no such timestep, it begins with its last; only a finished image needs no more steps.
 */
export function stepsSpared(
  timesteps: readonly number[],
  start: StartPoint,
  numTrainTimesteps: number,
): number {
  const firstAtMost = (limit: number): number => {
    const first = timesteps.findIndex((t) => t <= limit);
    return first < 0 ? timesteps.length - 1 : first;
  };
  if ("strength" in start) {
    if (start.strength === 0) return timesteps.length;
    // Below, and timesteps are integers.
    return firstAtMost(Math.ceil(start.strength * numTrainTimesteps) - 1);
  }
  const { step, timesteps: own } = start;
  if (!Number.isInteger(step) || step < 0 || step > own.length) {
    throw new InvalidInputError("step", `must be an integer from 0 to ${own.length}, not ${step}`);
  }
  // Several steps can be at one timestep, which then does not say where to continue.
  if (own.length === timesteps.length && own.every((t, i) => t === timesteps[i])) return step;
  const s = own[step];
  return s === undefined ? timesteps.length : firstAtMost(s);
}

/** The image to be noised, and by what. */
export interface Noised {
  readonly tokens: Uint16Array;
  readonly held?: Uint8Array | undefined;
  readonly strength: number;
  readonly seed: number | bigint;
  readonly image: number;
  readonly scheduler: DiffusionScheduler;
  /** Whether steps unmask in an order, and so never replace a class: what noise would replace is masked instead. */
  readonly isOrdered: boolean;
}

/**
 * Turns the tokens that are not held from x_0 into x_t, in place: drawn from q(x_t | x_0), or all masked with a strength of 1,
 * whatever the schedule leaves. `mask` is the mask's class.
 */
export function addNoise(
  { tokens, held, strength, seed, image, scheduler, isOrdered }: Noised,
  t: number,
  mask: number,
): void {
  const noise = new StepNoise(seed, image, t);
  for (const [position, token] of tokens.entries()) {
    if (held?.[position] === 1) continue;
    const noised = strength === 1 ? mask : scheduler.addNoise(token, t, noise.ofSource(position));
    tokens[position] = isOrdered && noised !== token ? mask : noised;
  }
}
