// Confidence order: pixels are unmasked first whose drawn class the model is surest of.

import type { UnmaskingOrder } from "./unmasking.ts";

/**
 * The parallel decoding of MaskGIT (arXiv 2202.04200, 3.2): every masked pixel draws a class, and those are unmasked for
 * which log p(class) + share * g is largest. g is standard Gumbel noise of the pixel, and `share` what is still masked
 * after the step, so that the noise fades as the image is filled in (as in the paper's code, whose noise begins 4.5
 * times as strong). Without noise, plain areas would always come first, and the images be plainer.
 */
export const confidenceOrder: UnmaskingOrder = {
  sharpening: 0,
  drawsAnew: false,
  rank: ({ position, confidence }, { noise, maskedShare }) =>
    maskedShare * Math.log(-Math.log(noise.ofConfidence(position))) - Math.log(confidence),
};
