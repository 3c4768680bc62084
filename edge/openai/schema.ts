// The body of an image request in OpenAI's dialect: it validates requests and describes them in the OpenAPI document.

import { z } from "@hono/zod-openapi";
import { MAX_IMAGES, MAX_PROMPT_CHARS } from "@vqd/shared/limits.ts";
import { startFields } from "../service/inputs/fields.ts";
import { FORMAT_NAMES, integer, priority, promptText, sampling } from "../service/schemas.ts";

/** OpenAI's limit. */
const MAX_PARTIAL_IMAGES = 3;
/** `hd` and `standard` are those of dall-e-3. */
const QUALITIES = ["auto", "standard", "low", "medium", "high", "hd", "xhigh", "max"] as const;

const imagesMessage = `must be an integer from 1 to ${MAX_IMAGES}`;

/** A parameter of OpenAI's API that cannot be varied here, and would change the image: only its neutral values are accepted. */
const only = (values: readonly (string | number)[], reason?: string) => {
  const accepted = values.map((value) => `${JSON.stringify(value)} or `).join("");
  const message = `must be ${accepted}omitted${reason === undefined ? "" : `: ${reason}`}`;
  return z
    .union([z.string(), z.number(), z.boolean(), z.object({})], message)
    .nullish()
    .refine(
      (value) => value === undefined || value === null || values.some((neutral) => neutral === value),
      message,
    )
    .openapi({ type: ["string", "number", "null"], enum: [...values, null] })
    .describe("Accepted for compatibility; only the listed values are supported.");
};

/** A parameter of OpenAI's API that does nothing here and no harm: the answer says that it was ignored. */
const ignored = (...values: [string, ...string[]]) =>
  z
    .enum(values)
    .nullish()
    .describe("Accepted for compatibility and reported in `ignored`: it has no effect.");

/** The fields that `ignored` describes. */
const IGNORED = ["style", "moderation", "complexity", "input_fidelity"] as const;

/** Whether it may be empty depends on the model. OpenAI's clients always send one. */
const prompt = z
  .string()
  .max(MAX_PROMPT_CHARS)
  .describe(
    "What the image should show. A model that is not conditioned takes only an empty one; others take none without a `class_label`.",
  );

export const generateImagesSchema = z.strictObject({
  prompt: prompt.nullish(),
  model: z
    .string()
    .min(1)
    .max(200)
    .nullish()
    .describe("`owner/name`, or an alias that the operator has set; defaults to the default model."),
  n: z
    .int({ error: imagesMessage })
    .min(1, imagesMessage)
    .max(MAX_IMAGES, `must be at most ${MAX_IMAGES}, the maximum per prediction`)
    .nullish()
    .describe("Number of images."),
  size: z
    .string()
    .regex(/^(?:auto|[1-9]\d{0,4}x[1-9]\d{0,4})$/, 'must be "auto" or a size such as "256x256"')
    .nullish()
    .describe(
      "`auto` for the size of the model's images, or one of the same proportions, to which they are resampled.",
    ),
  response_format: z
    .enum(["b64_json", "url"])
    .nullish()
    .describe(
      "Whether to return the images themselves or URLs, which expire. By default the images, but URLs for an alias that begins with `dall-e-`, as in OpenAI's API.",
    ),
  output_format: z.enum(FORMAT_NAMES).nullish().describe("Format of the image files; jpg means jpeg."),
  user: z.string().max(1_000).nullish(),
  ...sampling,
  priority,
  quality: z
    .enum(QUALITIES)
    .nullish()
    .describe(
      "A preset: low is draft, medium is fast, high and anything better is best; auto and standard are the default.",
    ),
  background: only(["auto", "opaque"], "images have no transparency"),
  moderation: ignored("auto", "low"),
  style: ignored("vivid", "natural"),
  complexity: ignored("low", "medium", "high"),
  frame_count: only([1], "images are not animated"),
  frame_duration_ms: only([], "images are not animated"),
  svg: only([], "images have pixels"),
  output_compression: integer()
    .min(0)
    .max(100)
    .nullish()
    .describe("Quality of WebP and JPEG files, 100 being the best; 100 or omitted for PNG."),
  partial_images: integer()
    .min(0)
    .max(MAX_PARTIAL_IMAGES)
    .nullish()
    .describe("Number of previews, each the most likely result so far; requires stream."),
  stream: z.boolean().nullish().describe("Respond with server-sent events."),
  safety_identifier: z.string().max(1_000).nullish(),
});

export type GenerateImages = z.infer<typeof generateImagesSchema>;

const { strength, feather } = startFields;

/** The fields of an edit; its files are beside them. */
export const editImagesSchema = generateImagesSchema.extend({
  prompt,
  strength,
  feather,
  input_fidelity: ignored("high", "low"),
});

const { stream: _, partial_images: __, ...shared } = generateImagesSchema.shape;

/** The fields of a variation. OpenAI's have no prompt. */
export const variationSchema = z.strictObject({ ...shared, prompt: promptText.nullish(), strength });

/** What the requests have in common. */
export type ImageRequest = GenerateImages &
  Partial<Pick<z.infer<typeof editImagesSchema>, "input_fidelity" | "strength" | "feather">>;

/** Models of OpenAI's API that answer with URLs unless told otherwise; others, with the images themselves. */
const URLS_BY_DEFAULT = /^dall-e-/;

/** Whether the answer has URLs. */
export const wantsUrls = ({ response_format: format, model, stream }: ImageRequest): boolean =>
  format ? format === "url" : !stream && URLS_BY_DEFAULT.test(model ?? "");

/** The given fields that have no effect. */
export const ignoredOf = (body: ImageRequest): string[] =>
  IGNORED.filter((field) => body[field] !== undefined && body[field] !== null);
