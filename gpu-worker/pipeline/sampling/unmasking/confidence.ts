// Confidence order: pixels are unmasked first whose drawn class the model is most certain of.

import type { UnmaskingOrder } from "./order.ts";

/**
 * The parallel decoding of MaskGIT (arXiv 2202.04200, 3.2): every masked pixel draws a class, and those with the largest
 * log p(class) + share * g are unmasked. g is standard Gumbel noise for the pixel, and `share` the fraction still masked
 * after the step, so that the noise fades as the image is filled in (as in the paper's code, whose noise starts 4.5 times as
 * strong). Without noise, plain areas would always come first, and images would be plainer.
 */
export const confidenceOrder: UnmaskingOrder = {
  sharpening: 0,
  redrawsAtEnd: false,
  rank: ({ position, confidence }, { noise, maskedShare }) =>
    maskedShare * Math.log(-Math.log(noise.ofConfidence(position))) - Math.log(confidence),
};
