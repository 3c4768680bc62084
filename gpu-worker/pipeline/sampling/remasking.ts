// Remasking: a step in an order also masks some of the drawn pixels again, so that what it has drawn wrong is drawn anew.

import type { StepNoise } from "./random.ts";
import { lowest } from "./unmasking.ts";

/** A pixel that has a class. */
export interface DrawnPixel {
  readonly position: number;
  /** What the model now gives that class after guidance, temperature and truncation, renormalised: above 0 to 1. */
  readonly confidence: number;
}

/**
 * `count` of the pixels, drawn without replacement by the probability that the model gives to all other classes,
 * 1 - confidence: each runs for a time that is exponentially distributed at that rate, and the first ones win.
 *
 * ReMDM's confidence is that of the step in which a pixel was drawn, and has to be remembered. The model's present one
 * needs nothing but tokens and step, and knows what was drawn since.
 */
export const drawRemasked = (pixels: readonly DrawnPixel[], count: number, noise: StepNoise): DrawnPixel[] =>
  lowest(
    pixels,
    count,
    ({ position, confidence }) => -Math.log(noise.ofRemasking(position)) / (1 - confidence),
  );
