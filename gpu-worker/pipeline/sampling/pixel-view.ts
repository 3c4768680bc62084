// The model's prediction for one latent pixel: p(x_0) after guidance, temperature, truncation and clamping, computed lazily.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { guidedLogits, guidedProbabilities, type LogProbsOf, normalize } from "./guidance.ts";
import { truncatePixel } from "./truncate.ts";

/** The pipeline clamps log-probabilities to this, which also stands for log 0. */
export const MIN_LOG_PROB = -70;
const MIN_PROB = Math.exp(MIN_LOG_PROB);

/** What the sampler can ask about a pixel. */
export interface PixelView {
  /** A lower bound of p(x_0 = k), at the cost of one exponential instead of one per class. */
  atLeast(k: number): number;
  /** p(x_0), K classes, each at least e^-70. Valid until the next pixel is viewed. */
  probabilities(): Float64Array;
}

/**
 * The model's output for one image, log p(x_0 | x_t, y) in rows of K classes for each evaluated pixel, and how to read it.
 */
export interface ImageLogProbs {
  readonly logProbs: Float32Array;
  /** Offset of the image's first pixel in the output with the prompt. */
  readonly conditional: number;
  /** The same without the prompt, if the image is guided. */
  readonly unconditional: number | undefined;
  readonly guidanceScale: number;
  /** Above 0; 1 leaves the probabilities unchanged. */
  readonly temperature: number;
  /** Above 0; 1 keeps every class. */
  readonly truncationRate: number;
}

/** A pixel's float32 probabilities sum to 1 with far less error than this margin allows. */
const SUM_MARGIN = 0.99;

/** Views of one pixel at a time, which share their buffers so that none is allocated per pixel. */
export class PixelViews {
  readonly #probabilities: Float64Array;
  readonly #scratch: Float64Array;
  readonly #kept: Uint8Array;

  /** `classes` excludes the mask. */
  constructor(classes: number) {
    this.#probabilities = new Float64Array(classes);
    this.#scratch = new Float64Array(classes);
    this.#kept = new Uint8Array(classes);
  }

  /** The view of the pixel in row `place` of the output; invalidates the previous view. */
  at(image: ImageLogProbs, place: number): PixelView {
    const { logProbs, guidanceScale, temperature, truncationRate } = image;
    const values = this.#probabilities;
    const row = (start: number): LogProbsOf => ({ logProbs, offset: start + place * values.length });
    const cond = row(image.conditional);
    const uncond = image.unconditional === undefined ? undefined : row(image.unconditional);
    /** Largest of the guided logits, once `values` holds them. */
    let largest: number | undefined;
    let isDone = false;

    const finish = (): Float64Array => {
      if (isDone) return values;
      if (largest === undefined) guidedProbabilities(values, cond, uncond, guidanceScale, temperature);
      else normalize(values, largest, temperature);
      // Rate 1 keeps every class; those that the reference drops are due to rounding errors of its running sum.
      if (truncationRate < 1) this.#truncate(truncationRate);
      clampProbabilities(values);
      isDone = true;
      return values;
    };
    return {
      probabilities: finish,
      atLeast: (k) => {
        if (isDone) return values[k] ?? outOfBounds();
        // Which classes truncation removes is known only once all probabilities are.
        if (truncationRate < 1) return 0;
        if (uncond === undefined) {
          const p = Math.exp((logProbs[cond.offset + k] ?? outOfBounds()) / temperature);
          // The sum of all p^(1 / T) is at most 1 for T <= 1, and at most K^(1 - 1/T) for T > 1 (Jensen).
          return temperature <= 1
            ? SUM_MARGIN * p
            : (SUM_MARGIN * p) / values.length ** (1 - 1 / temperature);
        }
        largest ??= guidedLogits(values, cond, uncond, guidanceScale);
        return (
          (SUM_MARGIN * Math.exp(((values[k] ?? outOfBounds()) - largest) / temperature)) / values.length
        );
      },
    };
  }

  #truncate(rate: number): void {
    const values = this.#probabilities;
    truncatePixel(values, rate, this.#scratch, this.#kept);
    for (let k = 0; k < values.length; k++) if (this.#kept[k] === 0) values[k] = 0;
  }
}

/** Clamps probabilities from below, as the pipeline clamps log-probabilities at -70. */
export function clampProbabilities(probabilities: Float64Array): void {
  for (let k = 0; k < probabilities.length; k++) {
    if ((probabilities[k] ?? outOfBounds()) < MIN_PROB) probabilities[k] = MIN_PROB;
  }
}
