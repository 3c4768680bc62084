// The image that the model predicts at a step: the most likely class of each pixel, without drawing.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { ImageLogProbs } from "./pixel-view.ts";

/**
 * argmax_k p(x_0 = k | x_t, y) of each pixel, written to `out` [L]; the lowest class on ties. The image's rows hold K =
 * `classes` log-probabilities for every pixel. Guidance is applied as in sampling; its normalization does not change which
 * class is largest, and truncation never removes that class.
 */
export function writeMostLikely(
  out: Uint16Array,
  { logProbs, conditional, unconditional, guidanceScale }: ImageLogProbs,
  classes: number,
): void {
  for (let position = 0; position < out.length; position++) {
    const cond = conditional + position * classes;
    const uncond = unconditional === undefined ? undefined : unconditional + position * classes;
    let best = 0;
    let bestScore = -Infinity;
    for (let k = 0; k < classes; k++) {
      const own = logProbs[cond + k] ?? outOfBounds();
      const base = uncond === undefined ? own : (logProbs[uncond + k] ?? outOfBounds());
      const score = base + guidanceScale * (own - base);
      if (score > bestScore) {
        bestScore = score;
        best = k;
      }
    }
    out[position] = best;
  }
}
