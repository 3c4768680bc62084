// Schemas of request bodies: they validate requests and describe them in the OpenAPI document.

import { z } from "@hono/zod-openapi";
import {
  IMAGE_FORMATS,
  type ImageFormat,
  ORDERS,
  type OutputFormat,
  PRIOR_RULES,
  SCHEDULERS,
} from "@vqd/shared/job.ts";
import {
  MAX_GUIDANCE_SCALE,
  MAX_IMAGE_SIDE,
  MAX_IMAGES,
  MAX_PREVIEWS,
  MAX_PRIOR_WEIGHT,
  MAX_PROMPT_CHARS,
  MAX_TEMPERATURE,
  MAX_TIMESTEPS,
  MIN_TEMPERATURE,
} from "@vqd/shared/limits.ts";
import { MAX_INFER_SPEED, MIN_INFER_SPEED } from "@vqd/shared/sampling/original.ts";
import { PRESET_NAMES } from "@vqd/shared/sampling/preset-names.ts";
import { parseSeed, SEED_DIGITS, SEED_RANGE } from "@vqd/shared/sampling/seed.ts";
import { PRIORITIES } from "@vqd/shared/subjects.ts";
import { MAX_CLASSES } from "@vqd/shared/tokenizer/announcement.ts";
import { startFields } from "./inputs/fields.ts";
import { WEBHOOK_EVENTS } from "../prediction/webhook-events.ts";

export const DEFAULTS = {
  preset: "best",
  guidanceScale: 5,
  truncationRate: 1,
  numOutputs: 1,
  outputFormat: "png",
  outputQuality: 80,
  previews: 0,
  promptTooLong: "truncate",
} as const;

/** That of a lossless file, too. */
export const BEST_QUALITY = 100;

/** What to do with a prompt longer than the model's limit. */
const LONG_PROMPTS = ["truncate", "error"] as const;

/** `jpg` is another name of jpeg. */
export const FORMAT_NAMES = [...IMAGE_FORMATS, "jpg"] as const;

/** The format that a request names, png by default. */
export function outputFormatOf<Name extends (typeof FORMAT_NAMES)[number] | "tokens">(
  name: Name | null | undefined,
): Name extends "tokens" ? OutputFormat : ImageFormat;
export function outputFormatOf(
  name: (typeof FORMAT_NAMES)[number] | "tokens" | null | undefined,
): OutputFormat {
  return name === "jpg" ? "jpeg" : (name ?? DEFAULTS.outputFormat);
}

export const promptText = z
  .string()
  .max(MAX_PROMPT_CHARS)
  .refine((text) => text.trim() !== "", "must not be empty")
  .openapi({ pattern: String.raw`\S` });

export const integer = (): z.ZodInt =>
  z.int({ error: (issue) => (issue.code === "invalid_type" ? "must be an integer" : undefined) });

/** From 0, or from -1 where it stands for a random seed. Bodies may also have more digits than a number holds (http/body/json.ts). */
const seed = (min: -1 | 0) => {
  const message = `must be ${SEED_RANGE}${min === 0 ? "" : ", or -1"}`;
  const digits = z
    .string()
    .regex(SEED_DIGITS, message)
    .refine((text) => parseSeed(text) !== undefined, message);
  const number = z.int({ error: message }).min(min, message).max(Number.MAX_SAFE_INTEGER, message);
  return z.union([number, digits], message);
};

const images = integer().min(1).max(MAX_IMAGES);
const side = integer().min(1).max(MAX_IMAGE_SIDE).nullish();

/** Settings accepted in all dialects; null means the default. */
export const sampling = {
  class_label: integer()
    .min(0)
    .max(MAX_CLASSES - 1)
    .nullish()
    .describe("The label of a class, instead of a prompt; for models conditioned by class."),
  preset: z
    .enum(PRESET_NAMES)
    .nullish()
    .describe(
      "Sets the steps and the sampler at once: draft, fast, best, or reference, which is diffusers' sampler. Fields given explicitly take precedence.",
    ),
  num_inference_steps: integer()
    .min(1)
    .max(MAX_TIMESTEPS)
    .nullish()
    .describe(
      "Number of denoising steps, at most as many as the model was trained with. Follows from infer_speed if that is given.",
    ),
  guidance_scale: z
    .number()
    .min(0)
    .max(MAX_GUIDANCE_SCALE)
    .nullish()
    .describe(
      "How strongly the prompt steers the image; up to 1, guidance is off. Defaults to the model's own value, or 5.",
    ),
  truncation_rate: z
    .number()
    .gt(0)
    .max(1)
    .nullish()
    .describe("Share of the probability mass that sampling keeps, starting with the most likely classes."),
  seed: seed(-1)
    .nullish()
    .describe(
      "The same seed gives the same image; random if omitted or -1. Up to 2^64 - 1: seeds above 2^53 - 1 are returned as strings, and may be sent as strings or numbers.",
    ),
  seeds: z
    .array(seed(0))
    .min(1)
    .max(MAX_IMAGES)
    .nullish()
    .describe("One seed per image, instead of `seed`: all images of the first prompt, then of the second."),
  scheduler: z
    .enum(SCHEDULERS)
    .nullish()
    .describe(
      "How the steps are distributed: over the end of the diffusion process, or over all of it; original does what the original code base's own sampler does.",
    ),
  infer_speed: z
    .number()
    .min(MIN_INFER_SPEED)
    .max(MAX_INFER_SPEED)
    .nullish()
    .describe(
      "Of the scheduler original, which it implies: from 2 on timesteps are skipped, below 1 each has several passes. The number of steps follows from it.",
    ),
  order: z
    .enum(ORDERS)
    .nullish()
    .describe(
      "Which masked pixels a step unmasks: those that the diffusion process draws, the most certain ones, or the next in a sequence that spreads over the image.",
    ),
  remasking: z
    .number()
    .min(0)
    .max(1)
    .nullish()
    .describe(
      "Share of the drawn pixels that a step masks again, preferring those that the model has become uncertain of. Not with the order posterior, unless prior_rule is 1 or 2.",
    ),
  temperature: z
    .number()
    .min(MIN_TEMPERATURE)
    .max(MAX_TEMPERATURE)
    .nullish()
    .describe("Below 1 likely classes are drawn more often than the model says, above 1 less often."),
  prior_rule: z
    .literal(PRIOR_RULES)
    .nullish()
    // The generator only reads a literal's first value.
    .openapi({ type: ["integer", "null"], enum: [...PRIOR_RULES, null] })
    .describe(
      "Purity sampling, with the order posterior: 0 turns it off, 1 unmasks the most certain pixels first, 2 also sharpens their distribution. With the scheduler original, 1 unmasks pixels in random order, and 2 the most certain first.",
    ),
  prior_weight: z
    .number()
    .min(0)
    .max(MAX_PRIOR_WEIGHT)
    .nullish()
    .describe("How much prior rule 2 sharpens the distribution; 0 means not at all."),
  negative_prompt: z
    .string()
    .max(MAX_PROMPT_CHARS)
    .nullish()
    .describe("What the image should not show. Requires a guidance_scale above 1."),
  embed_settings: z
    .boolean()
    .nullish()
    .describe(
      "Whether PNG files hold the prompt and the settings they were made with, as text for image browsers, AUTOMATIC1111 and ComfyUI. By default they do, unless the service is set otherwise.",
    ),
  prompt_too_long: z
    .enum(LONG_PROMPTS)
    .nullish()
    .describe(
      "What to do with a prompt longer than the model's limit: truncate it (default; reported in `metrics` and `logs`) or answer with an error.",
    ),
};

export const priority = z
  .enum(PRIORITIES)
  .nullish()
  .describe("Order of service: high, normal or low. The key may limit how high it can be.");

export const predictionInputSchema = z.strictObject({
  prompt: z
    .union([promptText, z.array(promptText).min(1).max(MAX_IMAGES)], "must be a string or a list of strings")
    .nullish()
    .describe(
      "What the image should show; a list makes images for each prompt. Required, unless `image`, `tokens` or `from` is given; a model by class takes a name or label, one that is not conditioned takes no prompt.",
    ),
  ...startFields,
  ...sampling,
  num_outputs: images.nullish().describe("Images per prompt."),
  num_images_per_prompt: images.nullish().describe("Alias of num_outputs."),
  width: side.describe(
    "Width of the files in pixels, if not the model's own: the images are resampled to it, and keep their proportions.",
  ),
  height: side.describe(
    "Height of the files in pixels; by itself it implies the width, and the width implies it.",
  ),
  size: z
    .string()
    .regex(/^[1-9]\d{0,4}x[1-9]\d{0,4}$/, 'must be a size such as "256x256"')
    .nullish()
    .describe("Width and height at once, as `256x256`."),
  aspect_ratio: z
    .string()
    .regex(/^[1-9]\d{0,4}:[1-9]\d{0,4}$/, 'must be a ratio such as "1:1"')
    .nullish()
    .describe("Width to height, as `1:1`: only the model's own proportions are possible."),
  output_format: z
    .enum([...FORMAT_NAMES, "tokens"])
    .nullish()
    .describe(
      "Format of the image files; jpg means jpeg. With tokens nothing is decoded: the files hold the images' tokens.",
    ),
  output_quality: integer()
    .min(0)
    .max(100)
    .nullish()
    .describe(
      "Quality of WebP and JPEG files, 100 being the best. PNG files are lossless: only 100 is accepted for them.",
    ),
  num_previews: integer()
    .min(0)
    .max(MAX_PREVIEWS)
    .nullish()
    .describe(
      "Previews of each image: the most likely result so far, sent as `preview` events. Fewer if there are fewer steps before the last.",
    ),
});

export type PredictionInput = z.infer<typeof predictionInputSchema>;

export const createPredictionSchema = z.strictObject({
  version: z
    .string()
    .min(1)
    .max(200)
    .nullish()
    .describe("A version id, `owner/name` or `owner/name:version`; defaults to the default model."),
  /** Replicate has the model's name in the path; it is accepted here too, since people put it here. */
  model: z.string().min(1).max(200).nullish().describe("`owner/name`, instead of version."),
  webhook: z.string().nullish().describe("A public https URL that receives the prediction's events."),
  webhook_events_filter: z
    .array(z.enum(WEBHOOK_EVENTS))
    .max(WEBHOOK_EVENTS.length)
    .nullish()
    .describe("The events to send; defaults to all."),
  /** A hint for Replicate's own client; here every prediction has a stream. */
  stream: z.boolean().nullish().describe("No effect: every prediction has a stream."),
  priority,
  output_encoding: z
    .enum(["url", "data-uri"])
    .nullish()
    .describe(
      "What `output` has: links (the default), or with `Prefer: wait` data URLs, if the images have at most 4 MiB together. Only this answer has them: the prediction itself has links.",
    ),
  input: predictionInputSchema,
});

export const testWebhookSchema = z.strictObject({
  url: z.string().describe("A public https URL that receives the event."),
});
