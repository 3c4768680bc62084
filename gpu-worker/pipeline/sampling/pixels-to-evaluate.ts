// Which latent pixels of a step the model is asked about.

import type { PurityPrior } from "./purity.ts";
import type { StepNoise } from "./random.ts";
import type { Jump } from "./schedule.ts";
import type { DiffusionScheduler } from "./scheduler.ts";

/** What decides it of an image that is being denoised; see `DenoiseSlot`. */
interface EvaluatedSlot {
  readonly tokens: Uint16Array;
  readonly scheduler: DiffusionScheduler;
  readonly prior?: PurityPrior | undefined;
  readonly noise?: unknown;
}

/**
 * Positions, in rising order, whose next class depends on the model. The numbers that decide a pixel's draw are known
 * before the model has run, and most of them keep the pixel as it is whatever the model says; all pixels are asked
 * about where the run's noise is recorded or a preview is wanted.
 */
export function pixelsToEvaluate(
  { tokens, scheduler, prior, noise: recorded }: EvaluatedSlot,
  { jump, noise, mask, isPreviewed }: { jump: Jump; noise: StepNoise; mask: number; isPreviewed: boolean },
): number[] {
  const positions = Array.from(tokens, (_, position) => position);
  if (isPreviewed || recorded !== undefined || jump.s < 0) return positions;
  if (prior !== undefined) return positions.filter((position) => tokens[position] === mask);
  return positions.filter(
    (position) => scheduler.dependsOnModel?.(tokens[position] ?? 0, jump, noise.ofDraw(position)) ?? true,
  );
}
