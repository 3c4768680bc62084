// Remasking: a step in an order also masks some of the drawn pixels again, so that mistakes can be redrawn.

import type { StepNoise } from "../random.ts";
import { lowestRanked } from "./order.ts";

/** A pixel that has a class. */
export interface DrawnPixel {
  readonly position: number;
  /** Current probability of that class after guidance, temperature and truncation, renormalized: above 0 to 1. */
  readonly confidence: number;
}

/**
 * `count` of the pixels, drawn without replacement in proportion to the probability of all other classes, 1 - confidence:
 * each pixel gets an exponentially distributed time with that rate, and the earliest win.
 *
 * ReMDM uses the confidence at the step in which a pixel was drawn, which has to be remembered. The current confidence needs
 * only tokens and step, and takes into account what has been drawn since.
 */
export const drawRemasked = (pixels: readonly DrawnPixel[], count: number, noise: StepNoise): DrawnPixel[] =>
  lowestRanked(
    pixels,
    count,
    ({ position, confidence }) => -Math.log(noise.ofRemasking(position)) / (1 - confidence),
  );
