// Translates OpenAI's image request into the input of a prediction.

import type { ModelManifest } from "@vqd/shared/model.ts";
import type { FieldError } from "@vqd/shared/errors.ts";
import { DEFAULTS, type GenerateImages, type PredictionInput } from "../service/schemas.ts";
import { invalidInput } from "../http/validation.ts";

const BEST_QUALITY = 100;

/** Size of the model's images, such as "128x128". Throws a VqdError (invalid_input) if a different one is requested. */
export function checkSize(size: string | null | undefined, model: ModelManifest): string {
  const own = `${model.imageWidth}x${model.imageHeight}`;
  if (size !== undefined && size !== null && size !== "auto" && size !== own) {
    throw invalidInput([
      { path: "size", message: `must be "auto" or "${own}", the size of ${model.name}'s images` },
    ]);
  }
  return own;
}

/** Checks fields that depend on each other. Throws a VqdError (invalid_input). */
function checkTogether(body: GenerateImages): void {
  const errors: FieldError[] = [];
  if (!body.stream && (body.partial_images ?? 0) > 0) {
    errors.push({ path: "partial_images", message: "must be 0 or omitted unless stream is true" });
  }
  const format = body.output_format ?? DEFAULTS.outputFormat;
  if (format === "png" && (body.output_compression ?? BEST_QUALITY) < BEST_QUALITY) {
    const message = "must be 100 or omitted for png, which is lossless; jpeg and webp take 0 to 100";
    errors.push({ path: "output_compression", message });
  }
  if (errors.length > 0) throw invalidInput(errors);
}

export function toPredictionInput(body: GenerateImages): PredictionInput {
  checkTogether(body);
  return {
    prompt: body.prompt,
    seed: body.seed,
    preset: body.preset,
    guidance_scale: body.guidance_scale,
    num_inference_steps: body.num_inference_steps,
    truncation_rate: body.truncation_rate,
    scheduler: body.scheduler,
    order: body.order,
    remasking: body.remasking,
    temperature: body.temperature,
    prior_rule: body.prior_rule,
    prior_weight: body.prior_weight,
    negative_prompt: body.negative_prompt,
    num_outputs: body.n,
    output_format: body.output_format,
    // Despite its name it is the quality: 100 is the best, and the default.
    output_quality: body.output_compression ?? BEST_QUALITY,
    num_previews: body.stream ? body.partial_images : 0,
  };
}
