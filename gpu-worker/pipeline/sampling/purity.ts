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
 * The original code (microsoft/VQ-Diffusion, `prior_rule` and `prior_weight`) does the same, with these differences:
 * - its rule 1 draws positions regardless of purity; its rule 2 corresponds to our rules 1 (weight 0) and 2;
 * - it divides the purities by the largest of the image before sharpening, so that a pixel's distribution depends on the
 *   other pixels; ours does not;
 * - its numbers of pixels are tables for 1,024 pixels and 10, 25, 50 or 100 steps; ours follow from the schedule, for any
 *   numbers of pixels and steps;
 * - it may need several passes of the model for one timestep; ours needs one.
 */
export const purityOrder = (weight: number): UnmaskingOrder => ({
  sharpening: weight,
  redrawsAtEnd: true,
  // Each pixel gets an exponentially distributed time with its purity as the rate, and the earliest win, which is equivalent
  // to drawing them one after the other (Efraimidis and Spirakis, 2006).
  rank: ({ position, purity }, { noise }) => -Math.log(noise.ofPosition(position)) / purity,
});

/** Raises `probabilities` to the power 1 + purity * weight, up to a common factor, in place; returns their purity. */
export function sharpen(probabilities: Float64Array, weight: number): number {
  let purity = 0;
  for (const p of probabilities) if (p > purity) purity = p;
  if (weight > 0 && purity > 0) {
    const exponent = 1 + purity * weight;
    for (let k = 0; k < probabilities.length; k++) {
      // Relative to the largest, which no exponent can reduce to zero.
      probabilities[k] = ((probabilities[k] ?? outOfBounds()) / purity) ** exponent;
    }
  }
  return purity;
}
