// What can be said of images without other images to compare them with: how likely, and how different they are.

import type { PromptConditioning, VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { StepNoise } from "../../gpu-worker/pipeline/sampling/random.ts";

/** Timesteps of 100 at which the model is asked, where about a fifth to four fifths of an image are masked. */
const TIMES = [0.2, 0.4, 0.6, 0.8];
/** Of the masks; no image is made with it, so that none is asked about with the noise that made it. */
const MASK_SEED = 2 ** 40;

/**
 * Pseudo-log-likelihood of class ids [L] under the model itself, in nats per pixel: mask some of the pixels as the
 * forward process would at a timestep, ask the transformer (with the prompt, without guidance) for the masked ones,
 * and take the mean log-probability of what is really there, over the masks of a few timesteps. The masks are the
 * same for every image. 0 is the highest value.
 */
export async function pseudoLikelihood(
  pipeline: VQDiffusionPipeline,
  latents: Uint16Array,
  prompt: PromptConditioning,
): Promise<number> {
  const { numEmbeddings: classes, numTrainTimesteps } = pipeline.info;
  const timesteps = TIMES.map((time) => Math.round(time * (numTrainTimesteps - 1)));
  const masked = timesteps.map((t) => {
    const noise = new StepNoise(MASK_SEED, 0, t);
    const share = pipeline.scheduler.maskedShare(t);
    return latents.map((token, position) => (noise.ofPosition(position) < share ? classes : token));
  });
  const prompts = timesteps.map(() => prompt);
  const logProbs = await pipeline.model.denoiser.predict(masked, timesteps, prompts);
  let sum = 0;
  for (const [row, tokens] of masked.entries()) {
    const hidden = [...tokens.keys()].filter((position) => tokens[position] === classes);
    const total = hidden.reduce(
      (rowSum, position) =>
        rowSum + (logProbs[(row * tokens.length + position) * classes + (latents[position] ?? 0)] ?? 0),
      0,
    );
    sum += total / hidden.length;
  }
  return sum / masked.length;
}

/** Mean share of the pixels at which two of the images have different class ids; 0 if they are all the same. */
export function diversity(images: readonly Uint16Array[]): number {
  const pairs = images.flatMap((one, i) => images.slice(i + 1).map((other) => [one, other] as const));
  const differing = pairs.map(
    ([one, other]) => one.filter((token, i) => token !== other[i]).length / one.length,
  );
  return differing.reduce((sum, share) => sum + share, 0) / pairs.length;
}
