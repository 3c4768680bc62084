// Completes a caller's input with defaults. Refused is what contradicts itself or the model, and what would have no effect.

import type { ModelManifest } from "@vqd/shared/model.ts";
import { resampledPixels } from "@vqd/shared/job.ts";
import { MAX_IMAGES, MAX_RESAMPLED_PIXELS, MAX_TIMESTEPS, MIN_GUIDANCE_SCALE } from "@vqd/shared/limits.ts";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { originalRun } from "@vqd/shared/sampling/original.ts";
import { PRESETS } from "@vqd/shared/sampling/presets.ts";
import {
  completeSampler,
  negativePromptConflict,
  samplerConflict,
  type SamplerSettings,
} from "@vqd/shared/sampling/sampler.ts";
import { type JsonSeed, parseSeed, toJsonSeed } from "@vqd/shared/sampling/seed.ts";
import { invalidInput } from "../http/body/validation.ts";
import { isDecoding, type Refuse } from "./inputs/check.ts";
import { promptOf } from "./inputs/prompt.ts";
import { isOwnSize, outputSizeOf } from "./output-size.ts";
import { BEST_QUALITY, DEFAULTS, outputFormatOf, type PredictionInput } from "./schemas.ts";

type Field = keyof PredictionInput;

/** Path of a field of the input in the body that the caller has sent. */
export type FieldPath = (field: Field) => string;

export interface CompletionOptions {
  readonly pathOf: FieldPath;
  /** Whether files may hold settings. */
  readonly mayEmbed: boolean;
  /** Number of images that it starts from, if one or as many are to be made. */
  readonly startImages: number;
  /** Whether it starts from images at all. */
  readonly starts: boolean;
}

/** Settings of a run that only decodes: none of them has an effect. */
const DECODING = {
  prompt: null,
  negative_prompt: null,
  num_inference_steps: 1,
  guidance_scale: MIN_GUIDANCE_SCALE,
  truncation_rate: DEFAULTS.truncationRate,
  seed: 0,
  scheduler: "reference",
  order: "posterior",
  remasking: 0,
  temperature: 1,
  prior_rule: 0,
  prior_weight: 0,
  num_previews: 0,
  prompt_too_long: DEFAULTS.promptTooLong,
} as const;

export interface Completed {
  /** What the job is made of. */
  readonly settings: ReturnType<typeof completeRun>;
  /** What the record says of it. */
  readonly input: PredictionInput;
}

const SAMPLER_FIELDS = {
  scheduler: "scheduler",
  inferSpeed: "infer_speed",
  order: "order",
  remasking: "remasking",
  temperature: "temperature",
  priorRule: "prior_rule",
  priorWeight: "prior_weight",
} as const satisfies Record<keyof SamplerSettings, Field>;

/** What refuses a field of the input, with its path in the body. */
export const refuser =
  (pathOf: FieldPath): Refuse =>
  (field, message) => {
    throw invalidInput([{ path: pathOf(field), message }]);
  };

/**
 * The input with its defaults, which is returned to the caller and, sent again, makes the same images. Throws a VqdError
 * (invalid_input).
 */
export function completeInput(
  input: PredictionInput,
  model: ModelManifest,
  options: CompletionOptions,
): Completed {
  if (!isDecoding(input)) {
    const settings = completeRun(input, model, options);
    return { settings, input: settings };
  }
  const files = completeFiles(input, model, { ...options, images: options.startImages, previews: 0 });
  return { settings: { ...DECODING, num_outputs: options.startImages, ...files }, input: files };
}

function completeRun(
  input: PredictionInput,
  model: ModelManifest,
  { pathOf, mayEmbed, startImages, starts }: CompletionOptions,
) {
  const refuse = refuser(pathOf);
  const prompt = promptOf(input, model, starts, refuse);
  const preset = PRESETS[input.preset ?? DEFAULTS.preset];
  const sampler = completeSampler(
    {
      ...input,
      inferSpeed: input.infer_speed,
      priorRule: input.prior_rule,
      priorWeight: input.prior_weight,
    },
    preset,
  );
  const conflict = samplerConflict(sampler, (field) => SAMPLER_FIELDS[field]);
  if (conflict !== undefined) refuse(SAMPLER_FIELDS[conflict.field], conflict.reason);
  const steps = stepsOf(input, sampler, model, refuse);
  const { num_outputs: outputs, num_images_per_prompt: perPrompt } = input;
  if (typeof outputs === "number" && typeof perPrompt === "number" && outputs !== perPrompt) {
    refuse("num_images_per_prompt", "contradicts num_outputs");
  }
  const prompts = [input.prompt].flat().length;
  const numOutputs = outputs ?? perPrompt ?? Math.max(DEFAULTS.numOutputs, Math.floor(startImages / prompts));
  const images = prompts * numOutputs;
  if (images > MAX_IMAGES) {
    const most = `asks for ${images} images in total; a prediction makes at most ${MAX_IMAGES}`;
    refuse("num_outputs", most);
  }
  if (startImages !== 1 && startImages !== images) {
    refuse("num_outputs", `asks for ${images} images in total, and it starts from ${startImages}`);
  }

  const usual = model.defaults?.guidanceScale ?? DEFAULTS.guidanceScale;
  const given = input.guidance_scale ?? (prompt === null ? MIN_GUIDANCE_SCALE : usual);
  if (prompt === null && given > MIN_GUIDANCE_SCALE)
    refuse("guidance_scale", "has no effect without a prompt");
  // As in diffusers, all scales up to 1 mean the same.
  const guidance = Math.max(given, MIN_GUIDANCE_SCALE);
  const negative = input.negative_prompt?.trim() ? input.negative_prompt : null;
  const idle = negative === null ? undefined : negativePromptConflict(guidance, "guidance_scale");
  if (idle !== undefined) refuse("negative_prompt", idle);

  const previews = input.num_previews ?? DEFAULTS.previews;
  if (previews > 0 && steps === 1) {
    refuse("num_previews", "must be 0 or omitted with a single step: there is no step before the last");
  }
  return {
    prompt,
    negative_prompt: negative,
    num_inference_steps: steps,
    guidance_scale: guidance,
    truncation_rate: input.truncation_rate ?? DEFAULTS.truncationRate,
    num_outputs: numOutputs,
    ...seedsOf(input, images, refuse),
    scheduler: sampler.scheduler,
    ...(sampler.scheduler === "original" ? { infer_speed: sampler.inferSpeed } : {}),
    order: sampler.order,
    remasking: sampler.remasking,
    temperature: sampler.temperature,
    prior_rule: sampler.priorRule,
    prior_weight: sampler.priorWeight,
    ...completeFiles(input, model, { pathOf, mayEmbed, images, previews }),
    num_previews: previews,
    prompt_too_long: input.prompt_too_long ?? DEFAULTS.promptTooLong,
  };
}

/** The number of steps that is asked for, or the preset's; with the original's sampler it follows from the speed. */
function stepsOf(
  { num_inference_steps: given, preset }: PredictionInput,
  sampler: SamplerSettings,
  model: ModelManifest,
  refuse: Refuse,
): number {
  const { numTrainTimesteps: timesteps, latentHeight, latentWidth } = model;
  if (sampler.scheduler === "original") {
    const steps = originalRun(sampler, { timesteps, pixels: latentHeight * latentWidth }).timesteps.length;
    if (steps > MAX_TIMESTEPS) {
      refuse(
        "infer_speed",
        `makes ${steps} steps with ${model.name}; a prediction has at most ${MAX_TIMESTEPS}`,
      );
    }
    if (given === steps || given === undefined || given === null) return steps;
    return refuse(
      "num_inference_steps",
      `must be ${steps} or omitted with infer_speed ${sampler.inferSpeed}`,
    );
  }
  const steps = given ?? Math.min(PRESETS[preset ?? DEFAULTS.preset].numInferenceSteps, timesteps);
  if (steps > timesteps) {
    refuse(
      "num_inference_steps",
      `must be at most ${timesteps}, the number of steps ${model.name} was trained with`,
    );
  }
  return steps;
}

/** The fields about the files. */
function completeFiles(
  input: PredictionInput,
  model: ModelManifest,
  {
    pathOf,
    mayEmbed,
    images,
    previews,
  }: Omit<CompletionOptions, "startImages" | "starts"> & { images: number; previews: number },
) {
  const refuse = refuser(pathOf);
  const size = outputSizeOf(input, model, refuse);
  if (size.width !== null && size.height !== null && !isOwnSize(size, model)) {
    const pixels = resampledPixels(images, previews, { width: size.width, height: size.height });
    if (pixels > MAX_RESAMPLED_PIXELS) {
      const most = `a prediction that resamples them makes at most ${MAX_RESAMPLED_PIXELS}`;
      refuse("width", `asks for ${pixels} pixels in all images and previews; ${most}`);
    }
  }
  const format = outputFormatOf(input.output_format);
  if (format === "tokens") {
    if (previews > 0) refuse("num_previews", "must be 0 or omitted for tokens: nothing is decoded");
    for (const field of ["width", "height", "size", "output_quality"] as const) {
      if (input[field] !== undefined && input[field] !== null)
        refuse(field, "must be omitted for tokens: nothing is decoded");
    }
  }
  if (format === "png" && (input.output_quality ?? BEST_QUALITY) !== BEST_QUALITY) {
    const only = `must be ${BEST_QUALITY} or omitted for png, which is lossless; jpeg and webp take 0 to 100`;
    refuse("output_quality", only);
  }
  if (input.embed_settings && format !== "png") {
    refuse("embed_settings", `must be false or omitted for ${format}: only png files hold settings`);
  }
  if (input.embed_settings && !mayEmbed) {
    refuse("embed_settings", "must be false or omitted: this service puts no settings into files");
  }
  const isLossy = format === "jpeg" || format === "webp";
  return {
    ...size,
    output_format: format,
    output_quality: isLossy ? (input.output_quality ?? DEFAULTS.outputQuality) : null,
    embed_settings: format === "png" ? (input.embed_settings ?? (mayEmbed && !isDecoding(input))) : null,
  };
}

/** Either `seed`, by which all images are made, or `seeds`, one per image. */
function seedsOf(
  { seed, seeds }: PredictionInput,
  images: number,
  refuse: (field: Field, message: string) => never,
): { seed: JsonSeed } | { seeds: JsonSeed[] } {
  if (!seeds) {
    const isRandom = seed === undefined || seed === null || seed === -1;
    return { seed: isRandom ? randomSeed() : canonical(seed) };
  }
  if (seed !== undefined && seed !== null) refuse("seeds", "cannot be given together with seed");
  if (seeds.length !== images) {
    refuse("seeds", `must have ${images} entries, one per image, not ${seeds.length}`);
  }
  return { seeds: seeds.map(canonical) };
}

const randomSeed = (): number => crypto.getRandomValues(new Uint32Array(1))[0] ?? outOfBounds();

const canonical = (seed: JsonSeed): JsonSeed => toJsonSeed(parseSeed(String(seed)) ?? outOfBounds());
