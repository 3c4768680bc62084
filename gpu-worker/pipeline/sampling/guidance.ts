// Classifier-free guidance: a pixel's class probabilities from the model's outputs with and without the prompt.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";

/** Log-probabilities of K classes, starting at `offset`. */
export interface LogProbsOf {
  readonly logProbs: Float32Array;
  readonly offset: number;
}

/**
 * p(x_0) of one pixel, written to `out`, from the log-probabilities of its K classes. With guidance, log p = uncond +
 * scale * (cond - uncond), renormalized (arXiv 2205.16007, eq. 8; diffusers' VQDiffusionPipeline); without (`uncond`
 * undefined), the conditional ones. The result is raised to 1 / `temperature`, which is above 0, and renormalized; 1 leaves
 * it unchanged.
 */
export function guidedProbabilities(
  out: Float64Array,
  cond: LogProbsOf,
  uncond: LogProbsOf | undefined,
  guidanceScale: number,
  temperature = 1,
): void {
  if (uncond === undefined && temperature === 1) {
    const { logProbs, offset } = cond;
    for (let k = 0; k < out.length; k++) out[k] = Math.exp(logProbs[offset + k] ?? outOfBounds());
  } else {
    normalize(out, guidedLogits(out, cond, uncond ?? cond, guidanceScale), temperature);
  }
}

/** Writes log p, up to a common term, to `out`; returns the largest. */
export function guidedLogits(
  out: Float64Array,
  { logProbs: cond, offset: condOffset }: LogProbsOf,
  { logProbs: uncond, offset: uncondOffset }: LogProbsOf,
  guidanceScale: number,
): number {
  let largest = -Infinity;
  for (let k = 0; k < out.length; k++) {
    const base = uncond[uncondOffset + k] ?? outOfBounds();
    const value = base + guidanceScale * ((cond[condOffset + k] ?? outOfBounds()) - base);
    out[k] = value;
    if (value > largest) largest = value;
  }
  return largest;
}

/** Turns log p up to a common term, `largest` being the largest, into p^(1 / temperature), normalized, in place. */
export function normalize(values: Float64Array, largest: number, temperature: number): void {
  const sharpening = 1 / temperature;
  let sum = 0;
  for (let k = 0; k < values.length; k++) {
    const p = Math.exp(((values[k] ?? outOfBounds()) - largest) * sharpening);
    values[k] = p;
    sum += p;
  }
  const scale = 1 / sum;
  for (let k = 0; k < values.length; k++) values[k] = (values[k] ?? outOfBounds()) * scale;
}
