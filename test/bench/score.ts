// What can be said of images without other images to compare them with: how likely, and how different they are.

import type { RgbImage } from "../../gpu-worker/pipeline/image.ts";
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

/** An image that a prompt may show, and its class ids [L]. */
export interface TrueImage {
  readonly image: RgbImage;
  readonly tokens: Uint16Array;
}

const MAX_BYTE = 255;

/** Peak signal-to-noise ratio of two images of one size, in dB, over all bytes. */
export function psnr(one: RgbImage, other: RgbImage): number {
  const squares = one.data.reduce((sum, byte, i) => sum + (byte - (other.data[i] ?? 0)) ** 2, 0);
  return 10 * Math.log10(MAX_BYTE ** 2 / (squares / one.data.length));
}

/** The legal image that `made` is most like. */
export function nearest(made: RgbImage, legal: readonly TrueImage[]): TrueImage {
  const [best] = legal.toSorted((a, b) => psnr(made, b.image) - psnr(made, a.image));
  if (best === undefined) throw new Error("there must be an image to compare with");
  return best;
}

/** Share of the pixels at which two images have the same class id. */
export const shareEqual = (one: Uint16Array, other: Uint16Array): number =>
  one.filter((token, i) => token === other[i]).length / one.length;
