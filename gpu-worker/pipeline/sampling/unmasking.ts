// Unmasking in an order: how many masked pixels a step gives their class, where the reverse process does not draw that.

import type { StepNoise } from "./random.ts";
import type { Jump } from "./schedule.ts";
import type { DiffusionScheduler } from "./scheduler.ts";

/** A masked pixel that may be unmasked in a step. */
export interface Candidate {
  readonly position: number;
  /** Its class if it is. */
  readonly token: number;
  /** What the model gives that class after guidance, temperature and truncation, renormalised: above 0 to 1. */
  readonly confidence: number;
  /** What it gives the likeliest class, before it is sharpened: above 0 to 1. */
  readonly purity: number;
}

/** What an order may know of a step beside the candidate itself. */
export interface StepOfOrder {
  readonly noise: StepNoise;
  /** Share of the image that is masked after the step, by the schedule. */
  readonly maskedShare: number;
}

/**
 * The posterior unmasks each pixel by a coin of its own, so that pixels unmasked together may not fit each other. With an
 * order a step that jumps from t to s leaves everything that is not masked as it is, and of the masked pixels it unmasks
 * as many as the schedule does on average (`maskedAfter`): those of the lowest rank.
 */
export interface UnmaskingOrder {
  /** r of eq. 11 of arXiv 2205.16007, >= 0: how much a sure pixel's distribution is sharpened before its class is drawn. */
  readonly sharpening: number;
  /**
   * Whether the step to the image draws every pixel anew from p(x_0), as the reference's does. Otherwise it unmasks what
   * is left, and the run's timesteps are `unmaskingTimesteps`.
   */
  readonly drawsAnew: boolean;
  /** The lowest are unmasked; among equals the lower position. Depends on the candidate and the step alone. */
  rank(candidate: Candidate, step: StepOfOrder): number;
  /** The rank of a position, where it depends on nothing else: then the model is asked about those alone that are unmasked. */
  readonly rankOfPosition?: (position: number) => number;
}

/**
 * How many of `pixels` stay masked at the end of the jump to timestep `s`: the share that the forward process has
 * masked there, with that of the run's first timestep counting as all, since a run starts all masked. It depends on
 * nothing that has happened, so a resumed run goes on as if uninterrupted. 0 for s = -1.
 */
export function maskedAfter(
  scheduler: DiffusionScheduler,
  timesteps: readonly number[],
  s: number,
  pixels: number,
): number {
  const all = scheduler.maskedShare(timesteps[0] ?? -1);
  return all > 0 ? Math.round((pixels * scheduler.maskedShare(s)) / all) : 0;
}

/**
 * Timesteps of a run whose last step unmasks as many pixels as the others: of one step more, all but the last, at which
 * nothing is masked any more. A run of all timesteps has no such step to leave out.
 */
export function unmaskingTimesteps(
  scheduler: DiffusionScheduler,
  numInferenceSteps: number,
): readonly number[] {
  // Asked for in any case, since it refuses numbers that there are not.
  const own = scheduler.timesteps(numInferenceSteps);
  const isWhole = own.length === scheduler.numTrainTimesteps;
  return isWhole ? own : scheduler.timesteps(numInferenceSteps + 1).slice(0, -1);
}

/** What a slot's settings and state say of its unmasking. */
export interface UnmaskingSlot {
  readonly tokens: Uint16Array;
  readonly timesteps: readonly number[];
  readonly scheduler: DiffusionScheduler;
  readonly order?: UnmaskingOrder | undefined;
  /** Share of the drawn pixels that a jump masks again, 0 to 1. */
  readonly remasking: number;
}

/** The order that the jump's pixels are unmasked in; undefined where the posterior draws them. */
export const orderOf = ({ order }: UnmaskingSlot, { s }: Jump): UnmaskingOrder | undefined =>
  s < 0 && order?.drawsAnew === true ? undefined : order;

/**
 * How many pixels a jump in an order unmasks, how many it masks again, and what share of the image is masked after it.
 *
 * Masked again is the share `remasking` of the drawn ones, but no more than are to be masked after the jump, and none by
 * the jump to the image: the capped schedule of ReMDM (arXiv 2503.00307), sigma = min(eta, (1 - alpha_s) / alpha_t), in
 * numbers of pixels. As many more are unmasked, so that what is masked by when stays as the schedule has it.
 */
export function unmaskingOf(
  { tokens, timesteps, scheduler, remasking }: UnmaskingSlot,
  { s }: Jump,
  mask: number,
): { readonly unmasked: number; readonly remasked: number; readonly maskedShare: number } {
  const left = maskedAfter(scheduler, timesteps, s, tokens.length);
  const masked = tokens.reduce((count, token) => count + (token === mask ? 1 : 0), 0);
  const remasked = Math.min(Math.round(remasking * (tokens.length - masked)), left);
  return { unmasked: Math.max(0, masked + remasked - left), remasked, maskedShare: left / tokens.length };
}

/** `count` of the items, or all if there are fewer: those of the lowest rank, the lower position first among equals. */
export function lowest<Item extends { readonly position: number }>(
  items: readonly Item[],
  count: number,
  rank: (item: Item) => number,
): Item[] {
  return items
    .map((item) => ({ item, rank: rank(item) }))
    .toSorted((a, b) => a.rank - b.rank || a.item.position - b.item.position)
    .slice(0, Math.max(0, count))
    .map(({ item }) => item);
}
