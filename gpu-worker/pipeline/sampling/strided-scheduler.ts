// Fewer steps over the whole of the diffusion process, each jumping over several timesteps.

import { checkSteps, VQDiffusionScheduler } from "./scheduler.ts";

/**
 * The "fast inference strategy" of arXiv 2111.14822: since the model predicts x_0 and not the noise of one step,
 * p(x_s | x_t) can be formed for any s < t, by the same posterior with the cumulated tables of s and with
 * q(x_t | x_s), their quotient. With as many steps as the model was trained with, every jump
 * is one timestep and the results are the reference's.
 *
 * The reference scheduler, given n < T steps, instead starts at t = n-1: with a picture that is all masked at a
 * timestep where almost none of it should be, of which the model has never seen the like.
 *
 * The original code (microsoft/VQ-Diffusion, `sample_fast`) has this too, but approximates the jump by taking x_t
 * for x_{t-skip} and making a single step from there. Ours is exact, and its timesteps are not tied to a skip.
 */
export class StridedVQDiffusionScheduler extends VQDiffusionScheduler {
  /**
   * n timesteps from T-1 down to 0 at equal distances, rounded to the nearest (halves up), all different. Equal in
   * t because the cumulated schedules are linear in t: every jump then unmasks the same share of the picture.
   * T-1 is where an all-masked picture belongs. 0 is where the reference and the original code end: the last step
   * draws every pixel anew from p(x_0 | x_t), and there it sees all of the picture. A single step goes from T-1 to the picture at once.
   * Throws InvalidInputError unless n is an integer from 1 to T.
   */
  override timesteps(numInferenceSteps: number): readonly number[] {
    checkSteps(numInferenceSteps, this.numTrainTimesteps);
    const first = this.numTrainTimesteps - 1;
    const jumps = numInferenceSteps - 1;
    if (jumps === 0) return [first];
    return Array.from({ length: numInferenceSteps }, (_, i) => Math.round((first * (jumps - i)) / jumps));
  }
}
