// The original code base's fast inference: every (skip + 1)th timestep, with an approximate jump between them.

import type { SchedulerConfig } from "../../checkpoint/config.ts";
import { InvalidInputError } from "../errors.ts";
import type { DrawCoefficients } from "./jump-draw.ts";
import type { PixelView } from "./pixel-view.ts";
import type { PixelUniforms, UniformSource } from "./random.ts";
import type { Jump } from "./schedule.ts";
import { VQDiffusionScheduler } from "./scheduler.ts";

/**
 * `sample_fast` of microsoft/VQ-Diffusion, which its `infer_speed` of 2 and more selects, with `skip` = infer_speed - 1: the
 * model is evaluated at t, and x_t is then taken for x_{t - skip}, of which a single step is made. The timesteps are T-1,
 * T-2-skip, ... and, whatever remains, 0. The scheduler
 * "original" is this one at such speeds; `StridedVQDiffusionScheduler` makes the exact jump.
 */
export class SkippingVQDiffusionScheduler extends VQDiffusionScheduler {
  readonly skip: number;

  /** `skip` is an integer from 0 to T - 1; 0 skips nothing. Throws InvalidInputError. */
  constructor(config: SchedulerConfig, skip: number) {
    super(config);
    const most = config.num_train_timesteps - 1;
    if (!Number.isInteger(skip) || skip < 0 || skip > most) {
      throw new InvalidInputError("skip", `must be an integer from 0 to ${most}, not ${skip}`);
    }
    this.skip = skip;
  }

  /** How many steps a run has, which is what `timesteps` takes. */
  get steps(): number {
    return this.#all().length;
  }

  /** Throws InvalidInputError unless `numInferenceSteps` is `steps`, which follows from what is skipped. */
  override timesteps(numInferenceSteps: number): readonly number[] {
    const all = this.#all();
    if (numInferenceSteps === all.length) return all;
    throw new InvalidInputError(
      "numInferenceSteps",
      `must be ${all.length}, as ${this.skip} of ${this.skip + 1} timesteps are skipped, not ${numInferenceSteps}`,
    );
  }

  override drawPixel(view: PixelView, current: number, jump: Jump, uniforms: PixelUniforms): number {
    return super.drawPixel(view, current, this.#approximate(jump), uniforms);
  }

  override dependsOnModel(current: number, jump: Jump, uniforms: PixelUniforms): boolean {
    return super.dependsOnModel(current, this.#approximate(jump), uniforms);
  }

  override drawCoefficients(jump: Jump): DrawCoefficients {
    return super.drawCoefficients(this.#approximate(jump));
  }

  override samplePixel(
    probabilities: Float64Array,
    current: number,
    jump: Jump,
    position: number,
    noise: UniformSource,
  ): number {
    return super.samplePixel(probabilities, current, this.#approximate(jump), position, noise);
  }

  #all(): number[] {
    const all: number[] = [];
    for (let t = this.numTrainTimesteps - 1; t >= 0; t -= this.skip + 1) all.push(t);
    return all.at(-1) === 0 ? all : [...all, 0];
  }

  /** The single step that stands for a jump. */
  #approximate({ t }: Jump): Jump {
    const from = t > this.skip ? t - this.skip : t;
    return { t: from, s: from - 1 };
  }
}
