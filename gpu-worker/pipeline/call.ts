// The options and results of a call of the pipeline, and how options are checked and completed.

import type { OrderName, PriorRule, SchedulerName } from "@vqd/shared/job.ts";
import { negativePromptConflict } from "@vqd/shared/sampling/sampler.ts";
import type { DenoiseSlot } from "./denoiser.ts";
import { InvalidInputError } from "./errors.ts";
import type { RgbImage } from "./image.ts";
import type { PipelineInfo } from "./info.ts";
import { randomSeed } from "./sampling/random.ts";
import type { DiffusionScheduler } from "./sampling/scheduler.ts";
import type { RunSettings } from "./sampling/run.ts";

/** The type of `images` in the output, by the call's `outputType`. */
export interface OutputTypes {
  /** Width, height and bytes, which `encodeImageFile` encodes as PNG, WebP or JPEG files. */
  image: RgbImage;
  /** Only the bytes, [H, W, 3], row-major; H and W are `imageHeight` and `imageWidth` of the pipeline's `info`. */
  rgb: Uint8Array;
  /** Nothing: `images` is empty, for callers who only want `latents` without decoding them. */
  latents: never;
}
export type OutputType = keyof OutputTypes;

export interface CallOptions<Type extends OutputType = OutputType> {
  readonly prompt: string | readonly string[];
  /** What to steer away from, for all prompts; requires guidance [the model's own unconditional embedding]. */
  readonly negativePrompt?: string | undefined;
  /**
   * 1 to the model's number of training timesteps [100, or all if there are fewer; with the scheduler "original" what follows from
   * `inferSpeed`, and nothing else].
   */
  readonly numInferenceSteps?: number | undefined;
  /** Weight of the prompt, >= 0; guidance applies above 1 [the model's; 5 if it has none]. */
  readonly guidanceScale?: number | undefined;
  /** Keeps the most likely classes up to this total probability, above 0 to 1 [1]. */
  readonly truncationRate?: number | undefined;
  /** >= 1 [1]. */
  readonly numImagesPerPrompt?: number | undefined;
  /** An integer from 0 to 2^64 - 1, a bigint above 2^53 - 1; image i draws its noise from (seed, i) [random]. */
  readonly seed?: number | bigint | undefined;
  /**
   * One seed per image, instead of `seed`. An image draws its noise from (its seed, number of preceding images with that
   * seed), so images with different seeds come out as if generated alone, and repeating one seed equals giving `seed`.
   */
  readonly seeds?: readonly (number | bigint)[] | undefined;
  /**
   * Class ids [L] to start from, one array per image or one for all [fully masked]. With `strength` they are a finished
   * image's, with `step` the state after a step, otherwise those that the first step starts from.
   */
  readonly latents?: readonly Uint16Array[] | undefined;
  /**
   * An image to start from instead, as a file or as pixels: scaled to cover the model's size, its centre cut out, and encoded by
   * the VQ model. PNG, JPEG, WebP, GIF, TIFF and AVIF files of up to MAX_SOURCE_PIXELS are read.
   */
  readonly image?: Uint8Array | RgbImage | undefined;
  /**
   * What is made anew; the rest is held, that is it has the source's class from the first step to the last. A mask in pixels is
   * a file or an image of the size of `image`, and white is made anew, or by `maskChannel: "alpha"` what is transparent; a
   * token is free if any of its pixels is at least half white. "image_alpha" is the transparency of `image` itself [everything].
   */
  readonly mask?: Uint8Array | RgbImage | "image_alpha" | undefined;
  /** Of a mask in pixels ["luminance"]. */
  readonly maskChannel?: "luminance" | "alpha" | undefined;
  /** The same in tokens, instead of `mask`: [L], 1 for those that are held and 0 for those that are made anew. */
  readonly held?: Uint8Array | undefined;
  /**
   * How far back to begin, 0 to 1: with x_t drawn from q(x_t | x_0) at the first timestep t of the run that is below strength
   * times all timesteps. 0 gives the source back, as the VQ model decodes it; 1 ignores it, except what is held
   * [with an image: 1 with a mask, else 0.8].
   */
  readonly strength?: number | undefined;
  /** Steps that the run has completed whose state `latents` is [0]. */
  readonly step?: number | undefined;
  /** The settings of that run; the call begins where it left off, or with its first timestep that is not above that [the call's own]. */
  readonly run?: RunSettings | undefined;
  /**
   * Blends the images into `image`: pixels outside the mask are those of `image`, and pixels inside fade in over so many pixels,
   * 0 to MAX_FEATHER [the images are what the VQ model decodes].
   */
  readonly feather?: number | undefined;
  /** What to turn the final class ids into ["image"]. */
  readonly outputType?: Type | undefined;
  /**
   * How the steps are spread over the diffusion process: a name, or the caller's own scheduler. One pipeline serves all
   * schedulers [the pipeline's scheduler; "original" with an `inferSpeed`].
   */
  readonly scheduler?: SchedulerName | DiffusionScheduler | undefined;
  /**
   * Of the scheduler "original", 0.1 to 10: from 2 on timesteps are skipped, below 1 each has several passes, which unmask few
   * pixels each [1].
   */
  readonly inferSpeed?: number | undefined;
  /** Which masked pixels a step unmasks ["posterior"]. */
  readonly order?: OrderName | undefined;
  /** Fraction of the drawn pixels that a step remasks, 0 to 1; not with order `posterior` alone [0]. */
  readonly remasking?: number | undefined;
  /** p(x_0) after guidance is raised to the power 1 / temperature, 0.01 to 2 [1]. */
  readonly temperature?: number | undefined;
  /**
   * Purity sampling, with order `posterior`: 0 for none, 1 to draw positions by purity, 2 to sharpen classes as well; as the
   * original has it with the scheduler "original", see `originalPurityOrder` [0; 1 with an `inferSpeed` below 1].
   */
  readonly priorRule?: PriorRule | undefined;
  /** How much rule 2 sharpens, >= 0 [0]. */
  readonly priorWeight?: number | undefined;
  /** Called once, before the first step; the slots are as for `onStep`. */
  readonly onStart?: ((slots: readonly DenoiseSlot[]) => void) | undefined;
  /**
   * Called after every step; the slots are the pipeline's own and must only be read. An error that it throws ends the call.
   */
  readonly onStep?: ((step: number, total: number, slots: readonly DenoiseSlot[]) => void) | undefined;
  /** When it aborts, the call rejects with its reason at the next step or image. */
  readonly signal?: AbortSignal | undefined;
}

export interface ImagePipelineOutput<Type extends OutputType = "image"> {
  /** All images of the first prompt, then all of the second, and so on. */
  readonly images: readonly OutputTypes[Type][];
  /** Final class ids of each image, [latentHeight x latentWidth], row-major. */
  readonly latents: readonly Uint16Array[];
  /** The seed of each image. Passed as `seeds` with otherwise the same options, they reproduce the images. */
  readonly seeds: readonly (number | bigint)[];
}

/** A call's options, completed with defaults. */
export interface ResolvedCall {
  readonly prompts: readonly string[];
  readonly count: number;
  readonly seeds: readonly (number | bigint)[];
  readonly numImagesPerPrompt: number;
  readonly settings: {
    readonly numInferenceSteps: number | undefined;
    readonly guidanceScale: number;
    readonly truncationRate: number;
    readonly scheduler: SchedulerName | DiffusionScheduler | undefined;
    readonly inferSpeed: number | undefined;
    readonly order: OrderName | undefined;
    readonly remasking: number | undefined;
    readonly temperature: number | undefined;
    readonly priorRule: PriorRule | undefined;
    readonly priorWeight: number | undefined;
  };
}

/** For a model with at least this many timesteps. */
const DEFAULT_STEPS = 100;

const OUTPUT_TYPES: readonly string[] = ["image", "rgb", "latents"] satisfies OutputType[];

/**
 * Fills in diffusers' defaults, except for guidance, whose default is the model's. Throws InvalidInputError for options that
 * are invalid for any model.
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
  const isOriginal =
    options.scheduler === "original" || (options.scheduler === undefined && options.inferSpeed !== undefined);
  const guidanceScale = options.guidanceScale ?? defaultGuidanceScale;
  if (options.negativePrompt?.trim()) {
    const conflict = negativePromptConflict(guidanceScale, "guidanceScale");
    if (conflict !== undefined) throw new InvalidInputError("negativePrompt", conflict);
  }
  return {
    prompts,
    count,
    seeds: resolveSeeds(options, count),
    numImagesPerPrompt,
    settings: {
      numInferenceSteps:
        options.numInferenceSteps ?? (isOriginal ? undefined : Math.min(DEFAULT_STEPS, numTrainTimesteps)),
      guidanceScale,
      truncationRate: options.truncationRate ?? 1,
      scheduler: options.scheduler,
      inferSpeed: options.inferSpeed,
      order: options.order,
      remasking: options.remasking,
      temperature: options.temperature,
      priorRule: options.priorRule,
      priorWeight: options.priorWeight,
    },
  };
}

function resolveSeeds({ seed, seeds }: CallOptions, count: number): readonly (number | bigint)[] {
  if (seeds === undefined) return new Array<number | bigint>(count).fill(seed ?? randomSeed());
  if (seed !== undefined) throw new InvalidInputError("seeds", "cannot be given together with seed");
  if (seeds.length !== count) {
    throw new InvalidInputError("seeds", `must be ${count}, one per image, not ${seeds.length}`);
  }
  return seeds;
}
