// The body of a text-to-image or image-to-image request in Hugging Face's dialect, whose parameters have diffusers' names.

import { z } from "@hono/zod-openapi";
import { MAX_PROMPT_CHARS } from "@vqd/shared/limits.ts";
import { startFields } from "../service/inputs/fields.ts";
import { predictionInputSchema, sampling } from "../service/schemas.ts";

const { width, height } = predictionInputSchema.shape;

export const textToImageSchema = z.strictObject({
  inputs: z
    .string()
    .describe(
      "What the image should show, which is empty only for a model that is not conditioned, or with `class_label`; or, with `parameters.prompt`, an image to start from, in base64 or as a data URL.",
    ),
  parameters: z
    .strictObject({
      ...sampling,
      prompt: z
        .string()
        .max(MAX_PROMPT_CHARS)
        .nullish()
        .describe(
          "Makes the request one of image to image. Empty for a model that is not conditioned, and with `class_label`.",
        ),
      strength: startFields.strength,
      target_size: z
        .strictObject({ width, height })
        .nullish()
        .describe("Width and height at once; with `prompt` only."),
      width,
      height,
      num_images_per_prompt: z
        .int({ error: "must be 1 or omitted: the response is an image" })
        .min(1)
        .max(1)
        .nullish()
        .describe("The response is one image."),
    })
    .nullish(),
  options: z
    .strictObject({
      wait_for_model: z.boolean().nullish().describe("The same as `x-wait-for-model: true`."),
      use_cache: z
        .boolean()
        .nullish()
        .describe("Ignored, as `x-ignored-parameters` says: images are never cached."),
    })
    .nullish(),
});

export type TextToImage = z.infer<typeof textToImageSchema>;

export const huggingfaceErrorSchema = z
  .strictObject({
    error: z.string().describe("What is wrong; about a field, it begins with the field's dotted path."),
    error_type: z.string().describe("Stable error code for programs."),
    estimated_time: z
      .number()
      .optional()
      .describe("Seconds after which a model may have been loaded; only with 503."),
  })
  .openapi("HuggingFaceError", {
    description: "An error in Hugging Face's format.",
    examples: [{ error: "parameters.seed must be an integer", error_type: "invalid_input" }],
  });
