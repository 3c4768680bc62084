// A job, as the edge hands it to a worker. It holds the prompt as token ids; the text never leaves the edge.

import { z } from "zod";
import { PREDICTION_ID_PATTERN, MAX_SHARDS, shardOfPrediction } from "./ids.ts";
import {
  MAX_GUIDANCE_SCALE,
  MAX_IMAGE_SIDE,
  MAX_IMAGES,
  MAX_PREVIEWS,
  MAX_PRIOR_WEIGHT,
  MAX_RESAMPLED_PIXELS,
  MAX_TEMPERATURE,
  MAX_TEXT_LENGTH,
  MAX_TIMESTEPS,
  MIN_GUIDANCE_SCALE,
  MIN_TEMPERATURE,
} from "./limits.ts";
import { modelNameSchema, versionSchema } from "./model.ts";
import { ORDERS, PRIOR_RULES, SCHEDULERS } from "./sampling/choices.ts";
import { inferSpeedSchema } from "./sampling/original.ts";
import { seedSchema } from "./sampling/seed.ts";
import { sourceSchema } from "./editing/source.ts";

export {
  type OrderName,
  ORDERS,
  PRIOR_RULES,
  type PriorRule,
  type SchedulerName,
  SCHEDULERS,
} from "./sampling/choices.ts";
export const IMAGE_FORMATS = ["png", "webp", "jpeg"] as const;
export type ImageFormat = (typeof IMAGE_FORMATS)[number];
/** What an output is: an image file, or the image's tokens as a file (editing/tokens-file.ts). */
export const OUTPUT_FORMATS = [...IMAGE_FORMATS, "tokens"] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

const sideSchema = z.int().min(1).max(MAX_IMAGE_SIDE);

/** Token ids of one prompt, padded to the model's text length. */
const tokenIdsSchema = z.array(z.int().min(0).max(0xffff)).min(1).max(MAX_TEXT_LENGTH);

const jobFields = z.strictObject({
  v: z.literal(1),
  id: z.string().regex(PREDICTION_ID_PATTERN),
  /** Hub shard that follows the job's events. */
  shard: z
    .int()
    .min(0)
    .max(MAX_SHARDS - 1),
  model: modelNameSchema,
  version: versionSchema,
  /** Unix times in ms; a worker fails a job whose deadline has passed. */
  createdAt: z.int(),
  deadlineAt: z.int(),
  prompts: z.array(tokenIdsSchema).min(1).max(MAX_IMAGES),
  /** Token ids of the negative prompt; null for the model's unconditional embedding. */
  negativePrompt: tokenIdsSchema.nullable(),
  numInferenceSteps: z.int().min(1).max(MAX_TIMESTEPS),
  guidanceScale: z.number().min(MIN_GUIDANCE_SCALE).max(MAX_GUIDANCE_SCALE),
  truncationRate: z.number().gt(0).max(1),
  numImagesPerPrompt: z.int().min(1).max(MAX_IMAGES),
  /** Image i of the job draws its noise from (seed, i). */
  seed: seedSchema,
  scheduler: z.enum(SCHEDULERS),
  priorRule: z.literal(PRIOR_RULES),
  /** Above 0 with prior rule 2 only. */
  priorWeight: z.number().min(0).max(MAX_PRIOR_WEIGHT),
  // Omitted if they have the values that applied before they existed, so that workers of both releases can read the job.
  /**
   * One seed per image, instead of `seed`: an image draws its noise from (its seed, number of preceding images with that
   * seed).
   */
  seeds: z.array(seedSchema).min(1).max(MAX_IMAGES).optional(),
  /** ["posterior"] */
  order: z.enum(ORDERS).optional(),
  /** Of the scheduler "original", whose number of steps follows from it. [1] */
  inferSpeed: inferSpeedSchema.optional(),
  /** Fraction of the drawn pixels that a step remasks; not with order "posterior" and prior rule 0. [0] */
  remasking: z.number().min(0).max(1).optional(),
  /** p(x_0) is raised to the power 1 / temperature. [1] */
  temperature: z.number().min(MIN_TEMPERATURE).max(MAX_TEMPERATURE).optional(),
  /** What the images start from. [every token masked] */
  source: sourceSchema.optional(),
  /** With "tokens" there are no previews, no output size and no blending: nothing is decoded. */
  outputFormat: z.enum(OUTPUT_FORMATS),
  /** Pixels of the files, to which images and previews are resampled. [the model's own] */
  outputSize: z.strictObject({ width: sideSchema, height: sideSchema }).optional(),
  /** Quality of a lossy format, 0 to 100; no effect on PNG. */
  outputQuality: z.int().min(0).max(100),
  /** Number of previews of each image, each the most likely result so far; see `previewSteps`. */
  previews: z.int().min(0).max(MAX_PREVIEWS),
});

export const jobSchema = jobFields
  .refine(({ id, shard }) => shardOfPrediction(id) === shard, {
    message: "is not the one in the id",
    path: ["shard"],
  })
  .refine(({ seeds, ...job }) => seeds === undefined || seeds.length === imageCount(job), {
    message: "must have one entry per image",
    path: ["seeds"],
  })
  .refine(
    ({ outputSize, previews, ...job }) =>
      outputSize === undefined ||
      resampledPixels(imageCount(job), previews, outputSize) <= MAX_RESAMPLED_PIXELS,
    { message: "has too many pixels in all", path: ["outputSize"] },
  )
  .superRefine(({ source, ...job }, context) => {
    const refuse = (message: string, ...path: string[]): void =>
      context.addIssue({ code: "custom", message, path });
    if (job.outputFormat === "tokens") {
      if (job.previews > 0) refuse("must be 0 for tokens", "previews");
      if (job.outputSize !== undefined) refuse("cannot be given for tokens", "outputSize");
      if (source?.type === "image" && source.blend !== undefined) {
        refuse("cannot be given for tokens", "source", "blend");
      }
    }
    if (source?.type !== "tokens") return;
    if (source.images !== 1 && source.images !== imageCount(job)) {
      refuse("must be 1 or the number of images", "source", "images");
    }
    if ((source.step ?? 0) > (source.run ?? job).numInferenceSteps) {
      refuse("must not exceed the steps of its run", "source", "step");
    }
  });

/** Pixels of all files that are made by resampling. */
export function resampledPixels(
  images: number,
  previews: number,
  { width, height }: { readonly width: number; readonly height: number },
): number {
  return images * (1 + previews) * width * height;
}

export type Job = z.infer<typeof jobFields>;

/** Number of images of a job. Their order is the reference's: all of the first prompt, then all of the second, ... */
export function imageCount(job: Pick<Job, "prompts" | "numImagesPerPrompt">): number {
  return job.prompts.length * job.numImagesPerPrompt;
}

/**
 * The steps, increasing and from 1 to total - 1, after which an image's most likely result is shown: evenly spread, and fewer
 * than `previews` if there are not enough steps before the last.
 */
export function previewSteps(total: number, previews: number): number[] {
  const count = Math.min(previews, total - 1);
  return Array.from({ length: count }, (_, i) => Math.round(((i + 1) * total) / (count + 1)));
}
