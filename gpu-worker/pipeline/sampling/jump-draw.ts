// Draws a latent pixel's next class from two random numbers, using the model only where the draw depends on it.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { PixelView } from "./pixel-view.ts";
import type { PixelUniforms } from "./random.ts";
import { cumulativeAt, type Jump, transitionBetween, type TransitionTables } from "./schedule.ts";

/** The part of `drawClasses`' settings that depends on the jump. */
export type DrawCoefficients = Readonly<
  Record<
    "keepA" | "keepB" | "ratio" | "leaveOwn" | "leaveOthers" | "keepOwn" | "keepOthers" | "redraws",
    number
  >
>;

/** Every pixel is drawn from p(x_0). */
export const REDRAW: DrawCoefficients = {
  keepA: 1,
  keepB: 0,
  ratio: 0,
  leaveOwn: 1,
  leaveOthers: 1,
  keepOwn: 0,
  keepOthers: 0,
  redraws: 1,
};

/** Stands for a probability of 0, as in the reference, where a schedule that never replaces would divide by it. */
const TINY = 1e-30;
/** Ensures that rounding never keeps a class that the exact comparison would change. */
const SAFETY = 1 + 1e-9;

/**
 * Draws from the posterior p(x_s | x_t) of one jump (arXiv 2111.14822, eq. 11 with eq. 5), the distribution that
 * `VQDiffusionScheduler.samplePixel` draws from by the Gumbel-max rule and one random number per class.
 *
 * The draw has two parts. The probability that a masked pixel stays masked depends only on the schedule, and the
 * probability that a class is kept only on that class. Only a pixel that changes needs the whole distribution, from which a
 * single number then chooses by cumulative sum. In a run of n steps over L pixels that is about L changes, instead of n x L
 * x K random numbers and exponentials.
 */
export class JumpDraw {
  readonly #jump: Jump;
  readonly #mask: number;
  /** Probability that a masked pixel stays masked. */
  readonly #staysMasked: number;
  /** Maximum of `#leaves`: the probability for a pixel whose class the model considers impossible. */
  readonly #leavesAtMost: number;
  // cumA and cumB at s; then, for a pixel that is not masked, p(x_t | x_0 = k), cumulative up to t, and p(x_t | x_s = k),
  // each for its own class and for another one.
  readonly #keepA: number;
  readonly #keepB: number;
  readonly #reachedSame: number;
  readonly #reachedOther: number;
  readonly #stepSame: number;
  readonly #stepOther: number;

  /** `classes` excludes the mask, and is the mask's id. */
  constructor(tables: TransitionTables, jump: Jump, classes: number) {
    const { cumA, cumB, cumC } = tables;
    const { t, s } = jump;
    const { a, b, c } = transitionBetween(tables, jump, classes);
    this.#jump = jump;
    this.#mask = classes;
    this.#keepA = cumulativeAt(cumA, s);
    this.#keepB = cumulativeAt(cumB, s);
    this.#reachedSame = cumulativeAt(cumA, t) + cumulativeAt(cumB, t);
    this.#reachedOther = TINY * cumulativeAt(cumA, t) + cumulativeAt(cumB, t);
    this.#stepSame = a + b;
    this.#stepOther = TINY * a + b;
    const stays = cumulativeAt(cumC, s);
    this.#staysMasked = stays / (stays + c * (this.#keepA + classes * this.#keepB));
    this.#leavesAtMost = this.#leaves(0);
  }

  /**
   * Whether `draw` uses the model; otherwise the pixel keeps its class whatever the model predicts. In a run of many steps,
   * this is true for few pixels of each step.
   */
  dependsOnModel(current: number, { change }: PixelUniforms): boolean {
    if (this.#jump.s < 0) return true;
    if (current === this.#mask) return change >= this.#staysMasked;
    return change <= this.#leavesAtMost * SAFETY;
  }

  /**
   * What a graph needs to make this draw; see `drawClasses`. A pixel leaves its class with probability l / (l + k), where l
   * and k are linear in the probabilities of that class and of all others, and only their ratio matters.
   */
  get coefficients(): DrawCoefficients {
    if (this.#jump.s < 0) return REDRAW;
    const [keepA, keepB, others] = [this.#keepA, this.#keepB, this.#mask - 1];
    const leaveOwn = (others * keepB * this.#stepOther) / this.#reachedSame;
    const leaveOthers = ((keepA + others * keepB) * this.#stepOther) / this.#reachedOther;
    const keepOwn = ((keepA + keepB) * this.#stepSame) / this.#reachedSame;
    const keepOthers = (keepB * this.#stepSame) / this.#reachedOther;
    // Some are far outside of float32's range.
    const scale = 1 / Math.max(leaveOwn, leaveOthers, keepOwn, keepOthers);
    return {
      keepA,
      keepB,
      ratio: this.#reachedOther / this.#reachedSame,
      leaveOwn: leaveOwn * scale,
      leaveOthers: leaveOthers * scale,
      keepOwn: keepOwn * scale,
      keepOthers: keepOthers * scale,
      redraws: 0,
    };
  }

  /** x_s of a pixel whose x_t is `current`. The jump to the image redraws every pixel from p(x_0). */
  draw(view: PixelView, current: number, uniforms: PixelUniforms): number {
    if (!this.dependsOnModel(current, uniforms)) return current;
    const { change, choice } = uniforms;
    if (this.#jump.s < 0) return pick(view.probabilities(), choice);
    if (current === this.#mask) {
      const probabilities = view.probabilities();
      return pickMixed(probabilities, choice, this.#keepA / sumOf(probabilities), this.#keepB);
    }
    // The likelier a pixel's class is, the likelier the pixel keeps it.
    if (change > this.#leaves(view.atLeast(current)) * SAFETY) return current;
    const probabilities = view.probabilities();
    const sum = sumOf(probabilities);
    const own = (probabilities[current] ?? outOfBounds()) / sum;
    if (change >= this.#leaves(own)) return current;
    const total = (1 - own) / this.#reachedOther + own / this.#reachedSame;
    const weight = this.#keepA / sum / this.#reachedOther / total;
    return pickMixed(probabilities, choice, weight, this.#keepB, current);
  }

  /** Probability that a pixel whose class has p(x_0) = `own` changes to another class. */
  #leaves(own: number): number {
    const others = (1 - own) / this.#reachedOther;
    const total = others + own / this.#reachedSame;
    const other = (others * this.#keepA + (this.#mask - 1) * this.#keepB * total) * this.#stepOther;
    const same = ((own / this.#reachedSame) * this.#keepA + this.#keepB * total) * this.#stepSame;
    return other / (other + same);
  }
}

/** The sum of all weights. */
export function sumOf(weights: Float64Array): number {
  let sum = 0;
  for (let k = 0; k < weights.length; k++) sum += weights[k] ?? outOfBounds();
  return sum;
}

/** The class at which the cumulative sum of `weights` exceeds the fraction `u` of the total. */
export function pick(weights: Float64Array, u: number): number {
  return pickMixed(weights, u, 1, 0);
}

/** The same for weights `scale * weights[k] + offset`, excluding class `except`; -1 excludes none. */
function pickMixed(weights: Float64Array, u: number, scale: number, offset: number, except = -1): number {
  const whole = sumOf(weights) - (except < 0 ? 0 : (weights[except] ?? outOfBounds()));
  const count = except < 0 ? weights.length : weights.length - 1;
  let left = u * (scale * whole + offset * count);
  let last = 0;
  for (let k = 0; k < weights.length; k++) {
    if (k === except) continue;
    const weight = scale * (weights[k] ?? outOfBounds()) + offset;
    if (weight <= 0) continue;
    left -= weight;
    last = k;
    if (left < 0) break;
  }
  // Rounding can leave a remainder after the last class.
  return last;
}
