// Classifier-free guidance: one pixel's class probabilities from what the model says with and without the prompt.

/** Log-probabilities of K classes, from `offset` on. */
export interface LogProbsOf {
  readonly logProbs: Float32Array;
  readonly offset: number;
}

/**
 * p(x_0) of one pixel, written to `out`, from the log-probabilities of its K classes. With guidance,
 * log p = uncond + scale * (cond - uncond), renormalised (arXiv 2205.16007, eq. 8; diffusers'
 * VQDiffusionPipeline); without (`uncond` undefined), the conditional ones. What guidance leaves is
 * raised to 1 / `temperature`, above 0, and renormalised; 1 leaves it as it is.
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
    for (let k = 0; k < out.length; k++) out[k] = Math.exp(logProbs[offset + k] ?? 0);
  } else {
    normalise(out, guidedLogits(out, cond, uncond ?? cond, guidanceScale), temperature);
  }
}

/** Writes log p up to a common term to `out`; returns the largest. */
export function guidedLogits(
  out: Float64Array,
  { logProbs: cond, offset: condOffset }: LogProbsOf,
  { logProbs: uncond, offset: uncondOffset }: LogProbsOf,
  guidanceScale: number,
): number {
  let largest = -Infinity;
  for (let k = 0; k < out.length; k++) {
    const base = uncond[uncondOffset + k] ?? 0;
    const value = base + guidanceScale * ((cond[condOffset + k] ?? 0) - base);
    out[k] = value;
    if (value > largest) largest = value;
  }
  return largest;
}

/** log p up to a common term, `largest` being the largest of them, → p^(1 / temperature), normalised, in place. */
export function normalise(values: Float64Array, largest: number, temperature: number): void {
  const sharpening = 1 / temperature;
  let sum = 0;
  for (let k = 0; k < values.length; k++) {
    const p = Math.exp(((values[k] ?? 0) - largest) * sharpening);
    values[k] = p;
    sum += p;
  }
  const scale = 1 / sum;
  for (let k = 0; k < values.length; k++) values[k] = (values[k] ?? 0) * scale;
}
