// Classifier-free guidance: one pixel's class probabilities from what the model says with and without the prompt.

/**
 * p(x_0) of one pixel, written to `out`, from the log-probabilities of the K classes at `offset`. With guidance,
 * log p = uncond + scale * (cond - uncond), renormalised (arXiv 2205.16007, eq. 8; diffusers'
 * VQDiffusionPipeline); without (`uncond` undefined), the conditional ones as they are.
 */
export function guidedProbabilities(
  out: Float64Array,
  cond: Float32Array,
  uncond: Float32Array | undefined,
  condOffset: number,
  uncondOffset: number,
  guidanceScale: number,
): void {
  const classes = out.length;
  if (uncond === undefined) {
    for (let k = 0; k < classes; k++) out[k] = Math.exp(cond[condOffset + k] ?? 0);
    return;
  }
  let max = -Infinity;
  for (let k = 0; k < classes; k++) {
    const base = uncond[uncondOffset + k] ?? 0;
    const value = base + guidanceScale * ((cond[condOffset + k] ?? 0) - base);
    out[k] = value;
    if (value > max) max = value;
  }
  let sum = 0;
  for (let k = 0; k < classes; k++) {
    const p = Math.exp((out[k] ?? 0) - max);
    out[k] = p;
    sum += p;
  }
  const scale = 1 / sum;
  for (let k = 0; k < classes; k++) out[k] = (out[k] ?? 0) * scale;
}
