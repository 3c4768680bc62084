// The bodies that clients send, as schemas: the one description of them.

import { z } from "@hono/zod-openapi";
import { OUTPUT_FORMATS, PRIOR_RULES, SCHEDULERS } from "@vqd/shared/job.ts";
import {
  MAX_GUIDANCE_SCALE,
  MAX_IMAGES,
  MAX_PREVIEWS,
  MAX_PRIOR_WEIGHT,
  MAX_PROMPT_CHARS,
  MAX_SEED,
  MAX_TIMESTEPS,
  MIN_GUIDANCE_SCALE,
} from "@vqd/shared/limits.ts";
import { PRESET_NAMES } from "@vqd/shared/presets.ts";
import { PRIORITIES } from "@vqd/shared/subjects.ts";
import { WEBHOOK_EVENTS } from "../prediction/webhook-events.ts";

export const DEFAULTS = {
  preset: "best",
  guidanceScale: 5,
  truncationRate: 1,
  numOutputs: 1,
  outputFormat: "png",
  outputQuality: 80,
  previews: 0,
} as const;

/** OpenAI's limit. */
const MAX_PARTIAL_IMAGES = 3;

const promptText = z
  .string()
  .max(MAX_PROMPT_CHARS)
  .refine((text) => text.trim() !== "", "must not be empty")
  .openapi({ pattern: String.raw`\S` });

const integer = (): z.ZodInt =>
  z.int({ error: (issue) => (issue.code === "invalid_type" ? "must be an integer" : undefined) });

const images = integer().min(1).max(MAX_IMAGES);
const imagesMessage = `must be an integer from 1 to ${MAX_IMAGES}`;

/** Settings of the sampler that both dialects take; null means the default. */
const sampling = {
  preset: z
    .enum(PRESET_NAMES)
    .nullish()
    .describe(
      "Steps, scheduler and purity sampling at once: draft, fast or best. What is given beside it counts.",
    ),
  num_inference_steps: integer()
    .min(1)
    .max(MAX_TIMESTEPS)
    .nullish()
    .describe("Denoising steps, at most as many as the model was trained with."),
  guidance_scale: z
    .number()
    .min(MIN_GUIDANCE_SCALE)
    .max(MAX_GUIDANCE_SCALE)
    .nullish()
    .describe(
      "How strongly the prompt steers the image; 1 switches guidance off. By default what the model says, else 5.",
    ),
  truncation_rate: z
    .number()
    .gt(0)
    .max(1)
    .nullish()
    .describe("Share of the probability that sampling keeps, the most likely classes first."),
  seed: integer()
    .min(0)
    .max(MAX_SEED)
    .nullish()
    .describe("The same seed gives the same image; random if absent."),
  scheduler: z
    .enum(SCHEDULERS)
    .nullish()
    .describe("How the steps are spread: over the end of the diffusion process, or over all of it."),
  prior_rule: z
    .literal(PRIOR_RULES)
    .nullish()
    // The generator reads one value of a literal only.
    .openapi({ type: ["integer", "null"], enum: [...PRIOR_RULES, null] })
    .describe("Purity sampling: 0 is off, 1 unmasks the surest pixels first, 2 also sharpens their choice."),
  prior_weight: z
    .number()
    .min(0)
    .max(MAX_PRIOR_WEIGHT)
    .nullish()
    .describe("How much prior rule 2 sharpens; 0 is not at all."),
  negative_prompt: z.string().max(MAX_PROMPT_CHARS).nullish().describe("What the image should not show."),
};

const priority = z
  .enum(PRIORITIES)
  .nullish()
  .describe(
    "Before or after whom it is served: high, normal or low. A key may be limited to less than high.",
  );

export const predictionInputSchema = z.strictObject({
  prompt: z
    .union([promptText, z.array(promptText).min(1).max(MAX_IMAGES)], {
      error: (issue) => (issue.input === undefined ? "is required" : "must be a string or a list of strings"),
    })
    .describe("What the image should show; a list makes images for each."),
  ...sampling,
  num_outputs: images.nullish().describe("Images per prompt."),
  num_images_per_prompt: images.nullish().describe("Another name of num_outputs."),
  output_format: z.enum(OUTPUT_FORMATS).nullish().describe("Format of the image files."),
  output_quality: integer()
    .min(0)
    .max(100)
    .nullish()
    .describe("Quality of WebP and JPEG files, 100 being the best. PNG files are lossless."),
  num_previews: integer()
    .min(0)
    .max(MAX_PREVIEWS)
    .nullish()
    .describe("Pictures of the most likely result on the way, of each image, as `preview` events."),
});

export type PredictionInput = z.infer<typeof predictionInputSchema>;

export const createPredictionSchema = z.strictObject({
  version: z
    .string()
    .min(1)
    .max(200)
    .nullish()
    .describe("A version's id, `owner/name` or `owner/name:version`; the default model if left out."),
  /** A model by name, which Replicate has in the path: accepted here too, for that is where people put it. */
  model: z.string().min(1).max(200).nullish().describe("`owner/name`, instead of version."),
  webhook: z.string().nullish().describe("A public https URL that is told of the prediction's events."),
  webhook_events_filter: z
    .array(z.enum(WEBHOOK_EVENTS))
    .max(WEBHOOK_EVENTS.length)
    .nullish()
    .describe("Which events it is told of; all if left out."),
  /** Replicate's client takes it as a hint for itself; every prediction has a stream here. */
  stream: z.boolean().nullish().describe("No effect: every prediction has a stream."),
  priority,
  input: predictionInputSchema,
});

/** A parameter of OpenAI's API that this service knows and cannot vary: its neutral values pass. */
const only = (...values: (string | number)[]) => {
  const message = `must be ${values.map((value) => `${JSON.stringify(value)} or `).join("")}left out`;
  return z
    .union([z.string(), z.number(), z.boolean(), z.object({})], message)
    .nullish()
    .refine(
      (value) => value === undefined || value === null || values.some((neutral) => neutral === value),
      message,
    )
    .openapi({ type: ["string", "number", "null"], enum: [...values, null] })
    .describe("Known, and taken at its one value only.");
};

export const generateImagesSchema = z.strictObject({
  prompt: promptText,
  model: z.string().min(1).max(200).nullish().describe("`owner/name`; the default model if left out."),
  n: z
    .int({ error: imagesMessage })
    .min(1, imagesMessage)
    .max(MAX_IMAGES, `must be at most ${MAX_IMAGES}: a prediction makes no more images`)
    .nullish()
    .describe("Images to make."),
  size: z
    .string()
    .regex(/^(?:auto|[1-9]\d{0,4}x[1-9]\d{0,4})$/, 'must be "auto" or a size such as "256x256"')
    .nullish()
    .describe("auto, or the size that the model makes."),
  response_format: z
    .enum(["b64_json", "url"])
    .nullish()
    .describe("The images themselves, or URLs that expire."),
  output_format: z.enum(OUTPUT_FORMATS).nullish().describe("Format of the image files."),
  user: z.string().max(1_000).nullish(),
  ...sampling,
  priority,
  quality: only("auto", "standard"),
  background: only("auto", "opaque"),
  moderation: only("auto", "low"),
  style: only(),
  complexity: only(),
  frame_count: only(1),
  frame_duration_ms: only(),
  svg: only(),
  output_compression: integer()
    .min(0)
    .max(100)
    .nullish()
    .describe("Quality of WebP and JPEG files, 100 being the best."),
  partial_images: integer()
    .min(0)
    .max(MAX_PARTIAL_IMAGES)
    .nullish()
    .describe("Images of the most likely result on the way; with stream."),
  stream: z.boolean().nullish().describe("Answer with server-sent events."),
  safety_identifier: z.string().max(1_000).nullish(),
});

export type GenerateImages = z.infer<typeof generateImagesSchema>;
