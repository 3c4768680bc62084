// The passes of the original code base's sampler: which timesteps it evaluates, and how many tokens each pass unmasks.

import { z } from "zod";
import { outOfBounds } from "../out-of-bounds.ts";
import type { PriorRule } from "./choices.ts";

/** The range that the original's examples give for `infer_speed`. */
export const MIN_INFER_SPEED = 0.1;
export const MAX_INFER_SPEED = 10;
export const inferSpeedSchema = z.number().min(MIN_INFER_SPEED).max(MAX_INFER_SPEED);

/** From this speed on timesteps are skipped; below 1, timesteps have several passes. */
export const SKIPPING_SPEED = 2;

export interface OriginalSettings {
  /** Its `infer_speed`: 2 and more leaves timesteps out, below 1 makes several passes for each. */
  readonly inferSpeed: number;
  readonly priorRule: PriorRule;
}

export interface OriginalSize {
  /** Timesteps that the model was trained with, T. */
  readonly timesteps: number;
  /** Tokens of an image, L. */
  readonly pixels: number;
}

export interface OriginalRun {
  /** Timestep of each pass, first to last; timesteps of several passes are repeated, and 0 is the last. */
  readonly timesteps: readonly number[];
  /** Timesteps left out after each, with the original's approximate jump; 0 for none. */
  readonly skip: number;
  /** With a prior rule: how many of L tokens are still masked after each pass; what is left at 0 is drawn there. */
  readonly left: readonly number[] | undefined;
}

/** The passes of a run. Settings are within their ranges; a speed below 1 implies prior rule 1, as in the original. */
export function originalRun({ inferSpeed, priorRule }: OriginalSettings, size: OriginalSize): OriginalRun {
  const last = size.timesteps - 1;
  if (inferSpeed >= SKIPPING_SPEED) {
    const skip = Math.floor(inferSpeed) - 1;
    const timesteps: number[] = [];
    for (let t = last; t >= 0; t -= skip + 1) timesteps.push(t);
    return { timesteps: timesteps.at(-1) === 0 ? timesteps : [...timesteps, 0], skip, left: undefined };
  }
  const all = Array.from({ length: size.timesteps }, (_, i) => last - i);
  if (inferSpeed >= 1 && priorRule === 0) return { timesteps: all, skip: 0, left: undefined };
  const most =
    inferSpeed < 1
      ? Math.max(1, Math.floor(Math.floor(size.pixels / size.timesteps) * inferSpeed))
      : size.pixels;
  return purityRun(tokensPerTimestep(size, most), size, most);
}

/**
 * Passes of at most `most` tokens each for timesteps that unmask `counts[t]` of them; one that unmasks none is left out.
 * For recorded runs with tables of their own.
 */
export function purityRun(
  counts: readonly number[],
  { timesteps: total, pixels }: OriginalSize,
  most: number,
): OriginalRun {
  const timesteps: number[] = [];
  const left: number[] = [];
  let masked = pixels;
  for (let t = total - 1; t > 0; t--) {
    let open = counts[t] ?? outOfBounds();
    while (open > 0) {
      // A single token is not left for a pass of its own.
      const unmasked = open - 1 <= most ? open : most;
      open -= unmasked;
      masked -= unmasked;
      timesteps.push(t);
      left.push(masked);
    }
  }
  return { timesteps: [...timesteps, 0], skip: 0, left: [...left, 0] };
}

const PIXELS_OF_TABLES = 1024;
const repeat = (times: number, ...counts: readonly number[]): number[] =>
  Array.from({ length: times }, () => counts).flat();

/**
 * How many tokens each timestep unmasks, by timestep. The original's own tables are for 1,024 tokens and 10, 25, 50 or 100
 * timesteps (`n_sample`, whose first entry is not used: timestep 0 draws every token anew). For other sizes the numbers follow
 * from its schedule, which masks a share of t / (T - 1) of the tokens at timestep t.
 */
function tokensPerTimestep({ timesteps, pixels }: OriginalSize, most: number): readonly number[] {
  if (pixels === PIXELS_OF_TABLES) {
    if (timesteps === 100) {
      const [second, end] = most <= 10 ? [6, 15] : [10, 11];
      return [1, second, ...repeat(32, 11, 10, 10), 11, end];
    }
    if (timesteps === 50) return [10, ...repeat(24, 21, 20), 30];
    if (timesteps === 25) return [21, ...repeat(23, 41), 60];
    if (timesteps === 10) return [69, ...repeat(8, 102), 139];
  }
  const maskedAt = (t: number): number => (t <= 0 ? 0 : Math.floor((pixels * t) / (timesteps - 1)));
  return Array.from({ length: timesteps }, (_, t) => maskedAt(t) - maskedAt(t - 1));
}
