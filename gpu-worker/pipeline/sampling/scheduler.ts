// The reverse process: which timesteps, and how a pixel's next class is drawn from the model's view of x_0.

import type { SchedulerConfig } from "../../checkpoint/config.ts";
import { InvalidInputError } from "../errors.ts";
import { JumpDraw } from "./jump-draw.ts";
import type { PixelView } from "./pixel-view.ts";
import type { PixelUniforms, UniformSource } from "./random.ts";
import {
  cumulatedIndex,
  type Jump,
  transitionBetween,
  type TransitionTables,
  transitionTables,
} from "./schedule.ts";

/** The reference writes the zeros of a one-hot as log(1e-30), and guards its Gumbel noise with the same number. */
const TINY = 1e-30;

/** What the pipeline needs of a scheduler. */
export interface DiffusionScheduler {
  readonly numTrainTimesteps: number;
  /** Timesteps of a run, first to last; throws InvalidInputError for a number the schedule does not have. */
  timesteps(numInferenceSteps: number): readonly number[];
  /** Share of the pixels that the forward process has masked at timestep t: rises with t, and is 0 for t = -1. */
  maskedShare(t: number): number;
  /** Draws one pixel's class at the end of a jump from two random numbers; see `JumpDraw`. */
  drawPixel(view: PixelView, current: number, jump: Jump, uniforms: PixelUniforms): number;
  /**
   * Whether `drawPixel` asks the view, known without one: the model is not run for pixels that keep their class in any
   * case. Without this method it is run for all of them.
   */
  dependsOnModel?(current: number, jump: Jump, uniforms: PixelUniforms): boolean;
  /** Draws from the same distribution as the reference does; see `VQDiffusionScheduler.samplePixel`. */
  samplePixel(
    probabilities: Float64Array,
    current: number,
    jump: Jump,
    position: number,
    noise: UniformSource,
  ): number;
}

/** The reference's scheduler (diffusers' VQDiffusionScheduler), on probabilities instead of their logarithms. */
export class VQDiffusionScheduler implements DiffusionScheduler {
  readonly numTrainTimesteps: number;
  readonly tables: TransitionTables;
  /** Classes without the mask, whose id this is. */
  readonly maskClass: number;
  readonly #uniforms: Float64Array;

  constructor(config: SchedulerConfig) {
    this.numTrainTimesteps = config.num_train_timesteps;
    this.maskClass = config.num_vec_classes - 1;
    this.tables = transitionTables(config);
    this.#uniforms = new Float64Array(config.num_vec_classes);
  }

  /** n-1 ... 0: fewer steps than trained with drop the early timesteps, as in the reference. */
  timesteps(numInferenceSteps: number): readonly number[] {
    checkSteps(numInferenceSteps, this.numTrainTimesteps);
    return Array.from({ length: numInferenceSteps }, (_, i) => numInferenceSteps - 1 - i);
  }

  maskedShare(t: number): number {
    const { cumC } = this.tables;
    return cumC[cumulatedIndex(t, cumC)] ?? 0;
  }

  /**
   * p(x_s | x_t) of one pixel up to a common factor, written to `out`: K classes, then the mask (arXiv 2111.14822,
   * eq. 11, with the posterior of eq. 5, which holds for any s < t as it does for s = t-1). `probabilities` is
   * p(x_0) over the K classes, each at least e^-70; `current` is x_t; s >= 0.
   */
  posterior(probabilities: Float64Array, current: number, { t, s }: Jump, out: Float64Array): void {
    const { cumA, cumB, cumC } = this.tables;
    const classes = this.maskClass;
    const masked = current === classes;
    const { a, b, c } = transitionBetween(this.tables, { t, s }, classes);
    const keepA = cumA[s] ?? 0;
    const keepB = cumB[s] ?? 0;
    // p(x_t | x_0 = k), cumulated to t, and p(x_t | x_s = k) of the jump.
    const reachedFromOther = masked ? (cumC[t] ?? 0) : TINY * (cumA[t] ?? 0) + (cumB[t] ?? 0);
    const reachedFromSame = masked ? reachedFromOther : (cumA[t] ?? 0) + (cumB[t] ?? 0);
    const stepFromOther = masked ? c : TINY * a + b;
    const stepFromSame = masked ? stepFromOther : a + b;

    let total = 0;
    for (let k = 0; k < classes; k++) {
      const q = (probabilities[k] ?? 0) / (k === current ? reachedFromSame : reachedFromOther);
      out[k] = q;
      total += q;
    }
    for (let k = 0; k < classes; k++) {
      // (q / total * keepA + keepB) * total, which keeps the factor that all entries share.
      out[k] = ((out[k] ?? 0) * keepA + keepB * total) * (k === current ? stepFromSame : stepFromOther);
    }
    out[classes] = (cumC[s] ?? 0) * total * (masked ? 1 : TINY);
  }

  readonly #posterior = { row: new Float64Array(0) };
  /** Of the last jump; the pixels of a step share one. */
  #draw: { jump: Jump; draw: JumpDraw } | undefined;

  drawPixel(view: PixelView, current: number, jump: Jump, uniforms: PixelUniforms): number {
    return this.#drawOf(jump).draw(view, current, uniforms);
  }

  dependsOnModel(current: number, jump: Jump, uniforms: PixelUniforms): boolean {
    return this.#drawOf(jump).dependsOnModel(current, uniforms);
  }

  #drawOf(jump: Jump): JumpDraw {
    const last = this.#draw;
    if (last?.jump.t === jump.t && last.jump.s === jump.s) return last.draw;
    const draw = new JumpDraw(this.tables, jump, this.maskClass);
    this.#draw = { jump, draw };
    return draw;
  }

  /**
   * Draws x_s of one pixel by the Gumbel-max rule, for comparison with recorded runs: with one uniform number per class (K for s = -1, where the mask
   * cannot be drawn and the posterior is p(x_0) itself, else K + 1), as the reference does. argmax(log p + g) is
   * computed as argmax(p / e) with e = -log u, the same thing without logarithms of p.
   */
  samplePixel(
    probabilities: Float64Array,
    current: number,
    jump: Jump,
    position: number,
    noise: UniformSource,
  ): number {
    const size = jump.s < 0 ? this.maskClass : this.maskClass + 1;
    let row = probabilities;
    if (jump.s >= 0) {
      if (this.#posterior.row.length !== size) this.#posterior.row = new Float64Array(size);
      row = this.#posterior.row;
      this.posterior(probabilities, current, jump, row);
    }
    const uniforms = this.#uniforms.subarray(0, size);
    noise.fill(uniforms, position);
    return gumbelArgmax(row, uniforms);
  }
}

/** Throws InvalidInputError unless a schedule of `limit` timesteps can be run in `numInferenceSteps` steps. */
export function checkSteps(numInferenceSteps: number, limit: number): void {
  if (!Number.isInteger(numInferenceSteps) || numInferenceSteps < 1 || numInferenceSteps > limit) {
    throw new InvalidInputError(
      "numInferenceSteps",
      `must be an integer from 1 to ${limit}, not ${numInferenceSteps}`,
    );
  }
}

/** argmax of log(weights) plus the Gumbel noise of `uniforms`; the lowest index on ties. */
export function gumbelArgmax(weights: Float64Array, uniforms: Float64Array): number {
  let best = 0;
  let bestScore = -1;
  for (let k = 0; k < uniforms.length; k++) {
    const weight = weights[k] ?? 0;
    const u = uniforms[k] ?? 0;
    // -log u >= 1 - u, so the score is at most weight / (1 - u): most classes need no logarithm.
    if (weight < bestScore * (1 - u) * SAFETY) continue;
    const score = weight / (TINY - Math.log(u + TINY));
    if (score > bestScore) {
      bestScore = score;
      best = k;
    }
  }
  return best;
}

/** Rounding must never skip a class that would win. */
const SAFETY = 1 - 1e-12;
