// Purity sampling: pixels are unmasked at random, sooner the more certain the model is of them.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { UnmaskingOrder } from "./unmasking/order.ts";

/**
 * "High-quality inference" with the purity prior of Improved VQ-Diffusion (arXiv 2205.16007). A step
 *
 * 1. takes the purity of each masked pixel i, max_k p(x_0^i = k | x_t), after guidance, temperature and truncation,
 * 2. draws the pixels to unmask, without replacement and in proportion to purity, and
 * 3. draws their classes from p(x_0^i | x_t)^(1 + purity * weight), renormalized (eq. 11 with r = `weight`, >= 0).
 *
 * The original code base does this differently; see `originalPurityOrder`.
 */
export const purityOrder = (weight: number): UnmaskingOrder => ({
  sharpening: weight,
  redrawsAtEnd: true,
  rank: rankByPurity,
});

/**
 * Each pixel gets an exponentially distributed time with its purity as the rate, and the earliest win, which is equivalent to
 * drawing them one after the other (Efraimidis and Spirakis, 2006).
 */
const rankByPurity: UnmaskingOrder["rank"] = ({ position, purity }, { noise }) =>
  -Math.log(noise.ofPosition(position)) / purity;

/**
 * `prior_rule` and `prior_weight` of microsoft/VQ-Diffusion, for the scheduler "original". Other than with `purityOrder`,
 * - rule 1 draws positions regardless of purity and does not sharpen; rule 2 is what both of our rules are, without a weight and
 *   with one;
 * - purities are divided by the largest of the image, drawn pixels included, before they sharpen: so a pixel's distribution
 *   depends on all others;
 * - how many pixels a step unmasks is its own: `maskedShares`, the fraction of all that is masked after each step;
 * - a timestep can have several steps.
 */
export const originalPurityOrder = (
  rule: 1 | 2,
  weight: number,
  maskedShares: readonly number[],
): UnmaskingOrder => ({
  sharpening: rule === 1 ? 0 : weight,
  isRelative: rule === 2 && weight > 0,
  redrawsAtEnd: true,
  maskedShares,
  rank: rule === 1 ? ({ position }, { noise }) => -Math.log(noise.ofPosition(position)) : rankByPurity,
});

export function purityOf(probabilities: Float64Array): number {
  let purity = 0;
  for (const p of probabilities) if (p > purity) purity = p;
  return purity;
}

/** Raises `probabilities` to the power 1 + purity * weight, up to a common factor, in place; returns their purity. */
export function sharpen(probabilities: Float64Array, weight: number): number {
  const purity = purityOf(probabilities);
  if (weight > 0 && purity > 0) {
    const exponent = 1 + purity * weight;
    for (let k = 0; k < probabilities.length; k++) {
      // Relative to the largest, which no exponent can reduce to zero.
      probabilities[k] = ((probabilities[k] ?? outOfBounds()) / purity) ** exponent;
    }
  }
  return purity;
}
