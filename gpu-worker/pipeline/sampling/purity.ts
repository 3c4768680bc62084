// Purity sampling: pixels are unmasked by chance, those sooner that the model is sure of.

import type { UnmaskingOrder } from "./unmasking.ts";

/**
 * "High-quality inference" with the purity prior of Improved VQ-Diffusion (arXiv 2205.16007). A step
 *
 * 1. takes the purity of each masked pixel i, max_k p(x_0^i = k | x_t), after guidance, temperature and truncation,
 * 2. draws the pixels that it unmasks without replacement and by purity, and
 * 3. gives those a class drawn from p(x_0^i | x_t)^(1 + purity * weight), renormalised (eq. 11, r being `weight`, >= 0).
 *
 * The original code (microsoft/VQ-Diffusion, `prior_rule` and `prior_weight`) does the same, but for these:
 * - its rule 1 draws positions without regard to purity; its rule 2 is what rules 1 (weight 0) and 2 are here;
 * - it divides the purities by the largest of the image before it sharpens, so that a pixel's distribution
 *   depends on the others; ours is the pixel's own;
 * - its numbers of pixels are tables for 1,024 pixels and 10, 25, 50 or 100 steps; ours come from the schedule, for
 *   any of both;
 * - it may need several passes of the model for one timestep; ours makes one.
 */
export const purityOrder = (weight: number): UnmaskingOrder => ({
  sharpening: weight,
  drawsAnew: true,
  // Each runs for a time that is exponentially distributed at its purity as rate, and the first ones win, which is the
  // same as drawing them one after the other (Efraimidis and Spirakis, 2006).
  rank: ({ position, purity }, { noise }) => -Math.log(noise.ofPosition(position)) / purity,
});

/** Raises `probabilities` to 1 + purity * weight, up to a common factor, in place; returns their purity. */
export function sharpen(probabilities: Float64Array, weight: number): number {
  let purity = 0;
  for (const p of probabilities) if (p > purity) purity = p;
  if (weight > 0 && purity > 0) {
    const exponent = 1 + purity * weight;
    for (let k = 0; k < probabilities.length; k++) {
      // Relative to the largest, which no exponent can make vanish.
      probabilities[k] = ((probabilities[k] ?? 0) / purity) ** exponent;
    }
  }
  return purity;
}
