// Unmasking in an order: how many masked pixels a step gives a class, where the reverse process does not draw that.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { StepNoise } from "../random.ts";
import type { Jump } from "../schedule.ts";
import type { DiffusionScheduler } from "../scheduler.ts";

/** A masked pixel that may be unmasked in a step. */
export interface Candidate {
  readonly position: number;
  /** The class that it gets if it is unmasked. */
  readonly token: number;
  /** Probability of that class after guidance, temperature and truncation, renormalized: above 0 to 1. */
  readonly confidence: number;
  /** Probability of the likeliest class before sharpening: above 0 to 1. */
  readonly purity: number;
}

/** What an order may depend on besides the candidate itself. */
export interface OrderContext {
  readonly noise: Pick<StepNoise, "ofPosition" | "ofConfidence">;
  /** Fraction of the image that is masked after the step, according to the schedule. */
  readonly maskedShare: number;
}

/**
 * The posterior unmasks each pixel independently, so that pixels unmasked together may not fit together. With an order, a
 * step that jumps from t to s leaves every pixel that is not masked as it is, and unmasks as many masked pixels as the
 * schedule does on average (`maskedAfter`): those of the lowest rank.
 */
export interface UnmaskingOrder {
  /** r in eq. 11 of arXiv 2205.16007, >= 0: how much a certain pixel's distribution is sharpened before its class is drawn. */
  readonly sharpening: number;
  /** Whether purity sharpens relative to the largest of the image: then the model evaluates all pixels. [false] */
  readonly isRelative?: boolean;
  /**
   * Whether the step to the image redraws every pixel from p(x_0), as the reference does. Otherwise it unmasks the remaining
   * pixels, and the run's timesteps are `unmaskingTimesteps`.
   */
  readonly redrawsAtEnd: boolean;
  /** Which fraction of the pixels is masked after each step of the run. [as the schedule masks them; see `maskedAfter`] */
  readonly maskedShares?: readonly number[];
  /** The lowest ranks are unmasked, the lower position first among equals. Depends only on the candidate and the context. */
  rank(candidate: Candidate, context: OrderContext): number;
  /** The rank of a position, if it depends on nothing else: then the model evaluates only the pixels to be unmasked. */
  readonly rankOfPosition?: (position: number) => number;
}

/**
 * How many of `pixels` are still masked after the jump to timestep `s`: the fraction that the forward process has masked
 * there, relative to that at the run's first timestep, since a run starts fully masked. It does not depend on what has
 * happened so far, so a resumed run continues as if it had not been interrupted. 0 for s = -1.
 */
export function maskedAfter(
  scheduler: DiffusionScheduler,
  timesteps: readonly number[],
  s: number,
  pixels: number,
): number {
  const all = scheduler.maskedShare(timesteps[0] ?? outOfBounds());
  return all > 0 ? Math.round((pixels * scheduler.maskedShare(s)) / all) : 0;
}

/**
 * Timesteps of a run whose last step unmasks as many pixels as the others: those of a run with one more step, except the
 * last, at which nothing is masked any more. A run over all timesteps has no such step to omit.
 */
export function unmaskingTimesteps(
  scheduler: DiffusionScheduler,
  numInferenceSteps: number,
): readonly number[] {
  // Computed in any case, because it rejects impossible numbers of steps.
  const own = scheduler.timesteps(numInferenceSteps);
  const isWhole = own.length === scheduler.numTrainTimesteps;
  return isWhole ? own : scheduler.timesteps(numInferenceSteps + 1).slice(0, -1);
}

/** The settings and state of a slot that determine its unmasking. */
export interface UnmaskingSlot {
  readonly tokens: Uint16Array;
  /** [L], 1 for pixels that keep their class at every step; undefined for none. */
  readonly held?: Uint8Array | undefined;
  /** Number of completed steps. */
  readonly stepIndex: number;
  readonly timesteps: readonly number[];
  readonly scheduler: DiffusionScheduler;
  readonly order?: UnmaskingOrder | undefined;
  /** Fraction of the drawn pixels that a jump remasks, 0 to 1. */
  readonly remasking: number;
}

/** The order in which the jump unmasks pixels; undefined if the posterior draws them. */
export const orderOf = ({ order }: UnmaskingSlot, { s }: Jump): UnmaskingOrder | undefined =>
  s < 0 && order?.redrawsAtEnd === true ? undefined : order;

/**
 * Of the pixels that are not held: how many a jump in an order unmasks, how many it remasks, and which fraction is masked after it.
 *
 * The fraction `remasking` of the drawn pixels is remasked, but no more than are to be masked after the jump, and none by
 * the jump to the image: the capped schedule of ReMDM (arXiv 2503.00307), sigma = min(eta, (1 - alpha_s) / alpha_t), in
 * numbers of pixels. The same number is unmasked in addition, so that the number of masked pixels follows the schedule.
 */
export function unmaskingOf(
  { tokens, held, stepIndex, timesteps, scheduler, order, remasking }: UnmaskingSlot,
  { s }: Jump,
  mask: number,
): { readonly unmasked: number; readonly remasked: number; readonly maskedShare: number } {
  // Held pixels have a class, so none of the masked ones is held.
  const masked = tokens.reduce((count, token) => count + (token === mask ? 1 : 0), 0);
  const free = held === undefined ? tokens.length : held.reduce((count, isHeld) => count + 1 - isHeld, 0);
  const share = order?.maskedShares?.[stepIndex];
  const left = share === undefined ? maskedAfter(scheduler, timesteps, s, free) : Math.round(free * share);
  const remasked = Math.min(Math.round(remasking * (free - masked)), left);
  return {
    unmasked: Math.max(0, masked + remasked - left),
    remasked,
    maskedShare: free > 0 ? left / free : 0,
  };
}

/** The `count` items of the lowest rank, or all if there are fewer; the lower position first among equals. */
export function lowestRanked<Item extends { readonly position: number }>(
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
