// What the model says of one latent pixel: p(x_0) after guidance, temperature, truncation and clamp, computed when it is asked for.

import { guidedLogits, guidedProbabilities, type LogProbsOf, normalise } from "./guidance.ts";
import { truncatePixel } from "./truncate.ts";

/** The pipeline clamps log-probabilities here, which also stands in for log 0. */
const MIN_LOG_PROB = -70;
const MIN_PROB = Math.exp(MIN_LOG_PROB);

/** What the sampler may ask about a pixel. */
export interface PixelView {
  /** A lower bound of p(x_0 = k), for the price of one exponential instead of one for each class. */
  atLeast(k: number): number;
  /** p(x_0), K classes, each at least e^-70. Valid until the next pixel is asked about. */
  probabilities(): Float64Array;
}

/**
 * The model's output for one image, log p(x_0 | x_t, y) in rows of K classes for each pixel that was asked about, and
 * how to read it.
 */
export interface ImageLogProbs {
  readonly logProbs: Float32Array;
  /** Offset of the image's first pixel, with the prompt. */
  readonly conditional: number;
  /** And without, if the image is guided. */
  readonly unconditional: number | undefined;
  readonly guidanceScale: number;
  /** Above 0; 1 leaves the probabilities as they are. */
  readonly temperature: number;
  /** Above 0; 1 keeps every class. */
  readonly truncationRate: number;
}

/** A pixel's float32 probabilities miss a sum of 1 by far less than this leaves. */
const SUM_MARGIN = 0.99;

/** Views of one pixel at a time: they share their buffers, so that none is allocated per pixel. */
export class PixelViews {
  readonly #probabilities: Float64Array;
  readonly #scratch: Float64Array;
  readonly #kept: Uint8Array;

  /** `classes` is without the mask. */
  constructor(classes: number) {
    this.#probabilities = new Float64Array(classes);
    this.#scratch = new Float64Array(classes);
    this.#kept = new Uint8Array(classes);
  }

  /** The view of the pixel in row `place` of the output; the one before it is of no use from then on. */
  at(image: ImageLogProbs, place: number): PixelView {
    const { logProbs, guidanceScale, temperature, truncationRate } = image;
    const values = this.#probabilities;
    const row = (start: number): LogProbsOf => ({ logProbs, offset: start + place * values.length });
    const cond = row(image.conditional);
    const uncond = image.unconditional === undefined ? undefined : row(image.unconditional);
    /** Of the guided logits, once `values` holds them. */
    let largest: number | undefined;
    let isDone = false;

    const finish = (): Float64Array => {
      if (isDone) return values;
      if (largest === undefined) guidedProbabilities(values, cond, uncond, guidanceScale, temperature);
      else normalise(values, largest, temperature);
      // Rate 1 keeps every class; what the reference drops there are rounding errors of its running sum.
      if (truncationRate < 1) this.#truncate(truncationRate);
      clampProbabilities(values);
      isDone = true;
      return values;
    };
    return {
      probabilities: finish,
      atLeast: (k) => {
        if (isDone) return values[k] ?? 0;
        // What truncation removes is known only when everything is.
        if (truncationRate < 1) return 0;
        if (uncond === undefined) {
          const p = Math.exp((logProbs[cond.offset + k] ?? 0) / temperature);
          // The sum of all p^(1 / T) is at most 1 for T < 1, and at most K^(1 - 1/T) above (Jensen).
          return temperature <= 1
            ? SUM_MARGIN * p
            : (SUM_MARGIN * p) / values.length ** (1 - 1 / temperature);
        }
        largest ??= guidedLogits(values, cond, uncond, guidanceScale);
        return (SUM_MARGIN * Math.exp(((values[k] ?? 0) - largest) / temperature)) / values.length;
      },
    };
  }

  #truncate(rate: number): void {
    const values = this.#probabilities;
    truncatePixel(values, rate, this.#scratch, this.#kept);
    for (let k = 0; k < values.length; k++) if (this.#kept[k] === 0) values[k] = 0;
  }
}

/** Clamps probabilities from below as the pipeline clamps log-probabilities at -70. */
export function clampProbabilities(probabilities: Float64Array): void {
  for (let k = 0; k < probabilities.length; k++) {
    if ((probabilities[k] ?? 0) < MIN_PROB) probabilities[k] = MIN_PROB;
  }
}
