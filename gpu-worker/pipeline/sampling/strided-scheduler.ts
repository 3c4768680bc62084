// Fewer steps spread over the whole diffusion process, each jumping over several timesteps.

import { checkSteps, VQDiffusionScheduler } from "./scheduler.ts";

/**
 * The "fast inference strategy" of arXiv 2111.14822: since the model predicts x_0 rather than the noise of one step,
 * p(x_s | x_t) can be formed for any s < t, by the same posterior with the cumulative tables of s and with q(x_t | x_s),
 * their quotient. With as many steps as in training, every jump is one timestep and the results equal the reference's.
 *
 * The reference scheduler, given n < T steps, instead starts at t = n-1: with a fully masked image at a timestep where
 * almost none of it should be masked, which the model has never seen in training.
 *
 * The original code (microsoft/VQ-Diffusion, `sample_fast`) has this too, but approximates the jump by treating x_t as
 * x_{t-skip} and making a single step from there. Ours is exact, and its timesteps are not bound to a fixed skip.
 */
export class StridedVQDiffusionScheduler extends VQDiffusionScheduler {
  /**
   * n different timesteps from T-1 down to 0 at equal distances, rounded to the nearest integer (halves up). The
   * distances are equal in t because the cumulative schedules are linear in t: every jump then unmasks the same fraction
   * of the image. T-1 is where a fully masked image belongs; 0 is where the reference and the original code end, so that
   * the last step, which redraws every pixel from p(x_0 | x_t), sees the whole image. A single step goes from T-1 directly
   * to the image. Throws InvalidInputError unless n is an integer from 1 to T.
   */
  override timesteps(numInferenceSteps: number): readonly number[] {
    checkSteps(numInferenceSteps, this.numTrainTimesteps);
    const first = this.numTrainTimesteps - 1;
    const jumps = numInferenceSteps - 1;
    if (jumps === 0) return [first];
    return Array.from({ length: numInferenceSteps }, (_, i) => Math.round((first * (jumps - i)) / jumps));
  }
}
