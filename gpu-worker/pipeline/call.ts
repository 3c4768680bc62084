// What a call of the pipeline takes and gives, and how its options are read.

import type { OrderName, PriorRule, SchedulerName } from "@vqd/shared/job.ts";
import type { DenoiseSlot } from "./denoiser.ts";
import { InvalidInputError } from "./errors.ts";
import type { RgbImage } from "./image.ts";
import type { PipelineInfo } from "./info.ts";
import { randomSeed } from "./sampling/random.ts";
import type { DiffusionScheduler } from "./sampling/scheduler.ts";

/** What `images` of the output are, by the call's `outputType`. */
export interface OutputTypes {
  /** Width, height and bytes: what `encodeImageFile` makes PNG, WebP or JPEG files of. */
  image: RgbImage;
  /** The bytes alone, [H, W, 3], row-major; H and W are the `imageHeight` and `imageWidth` of the pipeline's `info`. */
  rgb: Uint8Array;
  /** Nothing: `images` is empty, for callers who want `latents` only and no decoding. */
  latents: never;
}
export type OutputType = keyof OutputTypes;

export interface CallOptions<Type extends OutputType = OutputType> {
  readonly prompt: string | readonly string[];
  /** What to move away from, for all prompts; else the model's own unconditional embedding. */
  readonly negativePrompt?: string | undefined;
  /** From 1 to the model's training timesteps [100, or all of a model that has fewer]. */
  readonly numInferenceSteps?: number | undefined;
  /** How much the prompt weighs, >= 0; guidance applies above 1 [5]. */
  readonly guidanceScale?: number | undefined;
  /** Keeps the most likely classes up to this probability, above 0 to 1 [1]. */
  readonly truncationRate?: number | undefined;
  /** >= 1 [1]. */
  readonly numImagesPerPrompt?: number | undefined;
  /** An integer from 0 to 2^53 - 1; image i draws its noise from (seed, i) [random]. */
  readonly seed?: number | undefined;
  /**
   * One seed for each image, instead of `seed`. An image draws its noise from (its seed, number of images before it
   * with that seed): so images of different seeds are as if made alone, and one seed repeated is the same as `seed`.
   */
  readonly seeds?: readonly number[] | undefined;
  /** Class ids to start from instead of all masked, one array per image. */
  readonly latents?: readonly Uint16Array[] | undefined;
  /** What to make of the final class ids ["image"]. */
  readonly outputType?: Type | undefined;
  /**
   * How the steps are spread over the diffusion process, by name or as a scheduler of the caller's own: one loaded model
   * serves all of them, where diffusers makes a second pipeline of the same components [the pipeline's scheduler].
   */
  readonly scheduler?: SchedulerName | DiffusionScheduler | undefined;
  /** Which masked pixels a step unmasks ["posterior"]. */
  readonly order?: OrderName | undefined;
  /** Share of the drawn pixels that a step masks again, 0 to 1; not with order `posterior` alone [0]. */
  readonly remasking?: number | undefined;
  /** What guidance leaves of p(x_0) is raised to 1 / temperature, 0.01 to 2 [1]. */
  readonly temperature?: number | undefined;
  /** Purity sampling, with order `posterior`: 0 for none, 1 for positions drawn by purity, 2 for sharpened classes as well [0]. */
  readonly priorRule?: PriorRule | undefined;
  /** How much rule 2 sharpens, >= 0 [0]. */
  readonly priorWeight?: number | undefined;
  /**
   * Called after every step; the slots are the pipeline's own, to be read only. What it throws ends the call.
   */
  readonly onStep?: ((step: number, total: number, slots: readonly DenoiseSlot[]) => void) | undefined;
  /** Ends the call at the next step, or image, with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface ImagePipelineOutput<Type extends OutputType = "image"> {
  /** All images of the first prompt, then all of the second, ... */
  readonly images: readonly OutputTypes[Type][];
  /** Final class ids of each image, [latentHeight x latentWidth], row-major. */
  readonly latents: readonly Uint16Array[];
  /** The seed of each image. As `seeds` of a call with the same other options they make the same images again. */
  readonly seeds: readonly number[];
}

/** A call's options as they are used. */
export interface ResolvedCall {
  readonly prompts: readonly string[];
  readonly count: number;
  readonly seeds: readonly number[];
  readonly numImagesPerPrompt: number;
  readonly settings: {
    readonly numInferenceSteps: number;
    readonly guidanceScale: number;
    readonly truncationRate: number;
    readonly scheduler: SchedulerName | DiffusionScheduler | undefined;
    readonly order: OrderName | undefined;
    readonly remasking: number | undefined;
    readonly temperature: number | undefined;
    readonly priorRule: PriorRule | undefined;
    readonly priorWeight: number | undefined;
  };
}

/** Of a model that has so many timesteps. */
const DEFAULT_STEPS = 100;

const OUTPUT_TYPES: readonly string[] = ["image", "rgb", "latents"] satisfies OutputType[];

/**
 * Fills in diffusers' defaults, but for the guidance, which is the model's. Throws InvalidInputError for what does not
 * depend on the model.
 */
export function resolveCall(
  options: CallOptions,
  {
    defaultGuidanceScale,
    numTrainTimesteps,
  }: Pick<PipelineInfo, "defaultGuidanceScale" | "numTrainTimesteps">,
): ResolvedCall {
  const { numImagesPerPrompt = 1, outputType = "image" } = options;
  const prompts = typeof options.prompt === "string" ? [options.prompt] : options.prompt;
  if (prompts.length === 0) throw new InvalidInputError("prompt", "must not be an empty list");
  if (!Number.isInteger(numImagesPerPrompt) || numImagesPerPrompt < 1) {
    throw new InvalidInputError("numImagesPerPrompt", `must be an integer >= 1, not ${numImagesPerPrompt}`);
  }
  if (!OUTPUT_TYPES.includes(outputType)) {
    throw new InvalidInputError("outputType", `must be one of ${OUTPUT_TYPES.join(", ")}, not ${outputType}`);
  }
  const count = prompts.length * numImagesPerPrompt;
  return {
    prompts,
    count,
    seeds: resolveSeeds(options, count),
    numImagesPerPrompt,
    settings: {
      numInferenceSteps: options.numInferenceSteps ?? Math.min(DEFAULT_STEPS, numTrainTimesteps),
      guidanceScale: options.guidanceScale ?? defaultGuidanceScale,
      truncationRate: options.truncationRate ?? 1,
      scheduler: options.scheduler,
      order: options.order,
      remasking: options.remasking,
      temperature: options.temperature,
      priorRule: options.priorRule,
      priorWeight: options.priorWeight,
    },
  };
}

function resolveSeeds({ seed, seeds }: CallOptions, count: number): readonly number[] {
  if (seeds === undefined) return new Array<number>(count).fill(seed ?? randomSeed());
  if (seed !== undefined) throw new InvalidInputError("seeds", "cannot be given together with seed");
  if (seeds.length !== count) {
    throw new InvalidInputError("seeds", `must be ${count}, one for each image, not ${seeds.length}`);
  }
  return seeds;
}

/** The place of image `index` among those with its seed, which is what its noise is drawn for. */
export const placeOfSeed = (seeds: readonly number[], index: number): number =>
  seeds.slice(0, index).filter((seed) => seed === seeds[index]).length;
