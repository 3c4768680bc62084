// The reverse process: its timesteps, and how a pixel's next class is drawn given the model's prediction of x_0.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { SchedulerConfig } from "../../checkpoint/config.ts";
import { InvalidInputError } from "../errors.ts";
import { type DrawCoefficients, JumpDraw } from "./jump-draw.ts";
import type { PixelView } from "./pixel-view.ts";
import type { PixelUniforms, UniformSource } from "./random.ts";
import {
  cumulativeAt,
  type Jump,
  transitionBetween,
  type TransitionTables,
  transitionTables,
} from "./schedule.ts";

/** The reference represents the zeros of a one-hot vector as log(1e-30), and guards its Gumbel noise with the same number. */
const TINY = 1e-30;

/** What the pipeline needs from a scheduler. */
export interface DiffusionScheduler {
  readonly numTrainTimesteps: number;
  /** Timesteps of a run, first to last; throws InvalidInputError for a number of steps that the schedule cannot make. */
  timesteps(numInferenceSteps: number): readonly number[];
  /** Fraction of the pixels that the forward process has masked at timestep t: increases with t, 0 for t = -1. */
  maskedShare(t: number): number;
  /** Draws x_t of one pixel from q(x_t | x_0) with two random numbers; `token` is x_0, and t >= 0. */
  addNoise(token: number, t: number, uniforms: PixelUniforms): number;
  /** Draws a pixel's class at the end of a jump from two random numbers; see `JumpDraw`. */
  drawPixel(view: PixelView, current: number, jump: Jump, uniforms: PixelUniforms): number;
  /**
   * Whether `drawPixel` will use the view, decided without one: pixels that keep their class in any case are not
   * evaluated by the model. Without this method, all pixels are.
   */
  dependsOnModel?(current: number, jump: Jump, uniforms: PixelUniforms): boolean;
  /** What a graph needs to draw as `drawPixel` does. Without this method, it is done on the CPU. */
  drawCoefficients?(jump: Jump): DrawCoefficients;
  /** Draws as the reference does, with one random number per class; see `VQDiffusionScheduler.samplePixel`. */
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
  /** The mask's class id, which is also the number of other classes. */
  readonly maskClass: number;
  readonly #uniforms: Float64Array;

  constructor(config: SchedulerConfig) {
    this.numTrainTimesteps = config.num_train_timesteps;
    this.maskClass = config.num_vec_classes - 1;
    this.tables = transitionTables(config);
    this.#uniforms = new Float64Array(config.num_vec_classes);
  }

  /** n-1 ... 0: with fewer steps than in training, the first timesteps are dropped, as in the reference. */
  timesteps(numInferenceSteps: number): readonly number[] {
    checkSteps(numInferenceSteps, this.numTrainTimesteps);
    return Array.from({ length: numInferenceSteps }, (_, i) => numInferenceSteps - 1 - i);
  }

  maskedShare(t: number): number {
    return cumulativeAt(this.tables.cumC, t);
  }

  /**
   * q(x_t | x_0), arXiv 2111.14822, eq. 8: masked with probability cumC, kept with cumA, else one of all K classes, each with
   * cumB.
   */
  addNoise(token: number, t: number, { change, choice }: PixelUniforms): number {
    const masked = cumulativeAt(this.tables.cumC, t);
    if (change < masked) return this.maskClass;
    if (change < masked + cumulativeAt(this.tables.cumA, t)) return token;
    return Math.min(this.maskClass - 1, Math.floor(choice * this.maskClass));
  }

  /**
   * p(x_s | x_t) of one pixel up to a common factor, written to `out`: K classes, then the mask (arXiv 2111.14822, eq. 11,
   * with the posterior of eq. 5, which holds for any s < t just as for s = t-1). `probabilities` is p(x_0) over the K
   * classes, each at least e^-70; `current` is x_t; s >= 0.
   */
  posterior(probabilities: Float64Array, current: number, { t, s }: Jump, out: Float64Array): void {
    const { cumA, cumB, cumC } = this.tables;
    const classes = this.maskClass;
    const masked = current === classes;
    const { a, b, c } = transitionBetween(this.tables, { t, s }, classes);
    const [keepA, keepB] = [cumulativeAt(cumA, s), cumulativeAt(cumB, s)];
    const [cumAt, cumBt, cumCt] = [cumulativeAt(cumA, t), cumulativeAt(cumB, t), cumulativeAt(cumC, t)];
    // p(x_t | x_0 = k), cumulative up to t, and p(x_t | x_s = k) of the jump.
    const reachedFromOther = masked ? cumCt : TINY * cumAt + cumBt;
    const reachedFromSame = masked ? reachedFromOther : cumAt + cumBt;
    const stepFromOther = masked ? c : TINY * a + b;
    const stepFromSame = masked ? stepFromOther : a + b;

    let total = 0;
    for (let k = 0; k < classes; k++) {
      const q = (probabilities[k] ?? outOfBounds()) / (k === current ? reachedFromSame : reachedFromOther);
      out[k] = q;
      total += q;
    }
    for (let k = 0; k < classes; k++) {
      // (q / total * keepA + keepB) * total, which keeps the factor that all entries share.
      const kept = (out[k] ?? outOfBounds()) * keepA + keepB * total;
      out[k] = kept * (k === current ? stepFromSame : stepFromOther);
    }
    out[classes] = cumulativeAt(cumC, s) * total * (masked ? 1 : TINY);
  }

  readonly #posterior = { row: new Float64Array(0) };
  /** For the last jump; all pixels of a step share one. */
  #draw: { jump: Jump; draw: JumpDraw } | undefined;

  drawPixel(view: PixelView, current: number, jump: Jump, uniforms: PixelUniforms): number {
    return this.#drawOf(jump).draw(view, current, uniforms);
  }

  dependsOnModel(current: number, jump: Jump, uniforms: PixelUniforms): boolean {
    return this.#drawOf(jump).dependsOnModel(current, uniforms);
  }

  drawCoefficients(jump: Jump): DrawCoefficients {
    return this.#drawOf(jump).coefficients;
  }

  #drawOf(jump: Jump): JumpDraw {
    const last = this.#draw;
    if (last?.jump.t === jump.t && last.jump.s === jump.s) return last.draw;
    const draw = new JumpDraw(this.tables, jump, this.maskClass);
    this.#draw = { jump, draw };
    return draw;
  }

  /**
   * Draws x_s of one pixel by the Gumbel-max rule, for comparison with recorded runs: with one uniform number per class, as
   * the reference does (K for s = -1, where the mask cannot be drawn and the posterior is p(x_0) itself, else K + 1).
   * argmax(log p + g) is computed as argmax(p / e) with e = -log u, which is equivalent and needs no logarithm of p.
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

/** Throws InvalidInputError unless `numInferenceSteps` is an integer from 1 to `limit`, the schedule's timesteps. */
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
    const weight = weights[k] ?? outOfBounds();
    const u = uniforms[k] ?? outOfBounds();
    // -log u >= 1 - u, so the score is at most weight / (1 - u), and most classes need no logarithm.
    if (weight < bestScore * (1 - u) * SAFETY) continue;
    const score = weight / (TINY - Math.log(u + TINY));
    if (score > bestScore) {
      bestScore = score;
      best = k;
    }
  }
  return best;
}

/** Ensures that rounding never skips a class that would win. */
const SAFETY = 1 - 1e-12;
