// Purity sampling: pixels are unmasked a given number at a time, those first that the model is surest of.

import type { StepNoise } from "./random.ts";
import type { DiffusionScheduler } from "./scheduler.ts";

/**
 * Asks for purity sampling ("high-quality inference" with the purity prior of Improved VQ-Diffusion, arXiv
 * 2205.16007). The posterior unmasks each pixel by a coin of its own, so that pixels unmasked together may not
 * fit each other. Here a step that jumps from t to s leaves everything that is not masked as it is, and
 *
 * 1. takes the purity of each masked pixel i, max_k p(x_0^i = k | x_t), after guidance and truncation,
 * 2. draws, without replacement and by purity, as many masked pixels as the schedule unmasks in this jump
 *    (`maskedAfter`), and
 * 3. gives those a class drawn from p(x_0^i | x_t)^(1 + purity * weight), renormalised (eq. 11, r being `weight`).
 *
 * The last step, from the last timestep to the picture, is the ordinary one: every pixel is drawn anew from
 * p(x_0 | x_t).
 *
 * The original code (microsoft/VQ-Diffusion, `prior_rule` and `prior_weight`) does the same, but for these:
 * - its rule 1 draws positions without regard to purity; its rule 2 is what rules 1 (weight 0) and 2 are here;
 * - it divides the purities by the largest of the picture before it sharpens, so that a pixel's distribution
 *   depends on the others; ours is the pixel's own;
 * - its numbers of pixels are tables for 1,024 pixels and 10, 25, 50 or 100 steps; ours come from the schedule, for
 *   any of both;
 * - it may need several passes of the model for one timestep; ours makes one.
 */
export interface PurityPrior {
  /** r of eq. 11, >= 0: how much a sure pixel's distribution is sharpened; 0 for not at all. */
  readonly weight: number;
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

/** A masked pixel that may be unmasked in this step. */
export interface Candidate {
  readonly position: number;
  /** Its class if it is. */
  readonly token: number;
  /** Weight of the draw, above 0. */
  readonly purity: number;
}

/**
 * `count` of the candidates, or all if there are fewer, drawn by purity without replacement: each runs for a time
 * that is exponentially distributed at its purity as rate, and the first ones win, which is the same as drawing
 * them one after the other (Efraimidis and Spirakis, 2006). A pixel's time depends on its place and purity alone.
 */
export function drawByPurity(candidates: readonly Candidate[], count: number, noise: StepNoise): Candidate[] {
  const time = ({ position, purity }: Candidate): number => -Math.log(noise.ofPosition(position)) / purity;
  return candidates
    .map((candidate) => ({ candidate, time: time(candidate) }))
    .toSorted((a, b) => a.time - b.time || a.candidate.position - b.candidate.position)
    .slice(0, Math.max(0, count))
    .map(({ candidate }) => candidate);
}
