// Translates OpenAI's image request into the input of a prediction.

import type { ModelManifest } from "@vqd/shared/model.ts";
import { BEST_QUALITY, type GenerateImages, type PredictionInput } from "../service/schemas.ts";
import { invalidInput } from "../http/validation.ts";

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

/** OpenAI's names of fields of the input. */
const OPENAI_FIELDS: Partial<Record<keyof PredictionInput, string>> = {
  num_outputs: "n",
  output_quality: "output_compression",
  num_previews: "partial_images",
};

export const openaiField = (field: keyof PredictionInput): string => OPENAI_FIELDS[field] ?? field;

/** Throws a VqdError (invalid_input) for partial images without a stream to send them in. */
export function toPredictionInput(body: GenerateImages): PredictionInput {
  if (!body.stream && (body.partial_images ?? 0) > 0) {
    throw invalidInput([{ path: "partial_images", message: "must be 0 or omitted unless stream is true" }]);
  }
  return {
    prompt: body.prompt,
    seed: body.seed,
    seeds: body.seeds,
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
    prompt_too_long: body.prompt_too_long,
    embed_settings: body.embed_settings,
    num_outputs: body.n,
    output_format: body.output_format,
    // Despite its name it is the quality: 100 is the best, and the default.
    output_quality: body.output_compression ?? BEST_QUALITY,
    num_previews: body.stream ? body.partial_images : 0,
  };
}
