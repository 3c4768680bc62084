// Translates OpenAI's image request into the input of a prediction.

import type { ModelManifest } from "@vqd/shared/model.ts";
import { MAX_IMAGE_SIDE } from "@vqd/shared/limits.ts";
import type { PresetName } from "@vqd/shared/sampling/preset-names.ts";
import { BEST_QUALITY, DEFAULTS, type PredictionInput } from "../service/schemas.ts";
import { invalidInput } from "../http/body/validation.ts";
import type { GenerateImages, ImageRequest } from "./schema.ts";

/** The presets that qualities stand for; others, the default. */
const PRESETS_OF_QUALITY: Partial<Record<NonNullable<GenerateImages["quality"]>, PresetName>> = {
  low: "draft",
  medium: "fast",
  high: "best",
  hd: "best",
  xhigh: "best",
  max: "best",
};
/** The qualities by which OpenAI's answers name them. */
export const QUALITIES_OF_PRESET = {
  draft: "low",
  fast: "medium",
  best: "high",
  reference: "high",
} as const satisfies Record<PresetName, string>;

/** The preset that the request names, in either way. Throws a VqdError (invalid_input) if they differ. */
export function presetOf({ preset, quality }: ImageRequest): PresetName {
  const named = PRESETS_OF_QUALITY[quality ?? "auto"];
  if (preset && named !== undefined && named !== preset) {
    const message = `contradicts preset: ${quality} means the preset ${named}`;
    throw invalidInput([{ path: "quality", message }]);
  }
  return preset ?? named ?? DEFAULTS.preset;
}

/** Width and height that `size` asks for; none for the model's own. Throws a VqdError (invalid_input). */
function sizeOf(
  { size }: ImageRequest,
  { imageWidth, imageHeight }: ModelManifest,
): Pick<PredictionInput, "width" | "height"> {
  if (!size || size === "auto") return {};
  const [width = 0, height = 0] = size.split("x").map(Number);
  if (width === imageWidth && height === imageHeight) return {};
  if (Math.max(width, height) > MAX_IMAGE_SIDE) {
    const scale = Math.min(MAX_IMAGE_SIDE / imageWidth, MAX_IMAGE_SIDE / imageHeight);
    const largest = [imageWidth, imageHeight].map((side) => Math.floor(side * scale)).join("x");
    const message = `must have at most ${MAX_IMAGE_SIDE} pixels per side; the largest is ${largest}`;
    throw invalidInput([{ path: "size", message }]);
  }
  return { width, height };
}

/** OpenAI's names of fields of the input. */
const OPENAI_FIELDS: Partial<Record<keyof PredictionInput, string>> = {
  num_outputs: "n",
  output_quality: "output_compression",
  num_previews: "partial_images",
  width: "size",
  height: "size",
};

export const openaiField = (field: keyof PredictionInput): string => OPENAI_FIELDS[field] ?? field;

/** Throws a VqdError (invalid_input), among others for partial images without a stream to send them in. */
export function toPredictionInput(body: ImageRequest, model: ModelManifest): PredictionInput {
  if (!body.stream && (body.partial_images ?? 0) > 0) {
    throw invalidInput([{ path: "partial_images", message: "must be 0 or omitted unless stream is true" }]);
  }
  return {
    prompt: body.prompt,
    class_label: body.class_label,
    seed: body.seed,
    seeds: body.seeds,
    preset: presetOf(body),
    guidance_scale: body.guidance_scale,
    num_inference_steps: body.num_inference_steps,
    truncation_rate: body.truncation_rate,
    scheduler: body.scheduler,
    infer_speed: body.infer_speed,
    order: body.order,
    remasking: body.remasking,
    temperature: body.temperature,
    prior_rule: body.prior_rule,
    prior_weight: body.prior_weight,
    negative_prompt: body.negative_prompt,
    prompt_too_long: body.prompt_too_long,
    embed_settings: body.embed_settings,
    ...(body.strength === undefined ? {} : { strength: body.strength }),
    ...(body.feather === undefined ? {} : { feather: body.feather }),
    num_outputs: body.n,
    ...sizeOf(body, model),
    output_format: body.output_format,
    // Despite its name it is the quality: 100 is the best, and the default.
    output_quality: body.output_compression ?? BEST_QUALITY,
    num_previews: body.stream ? body.partial_images : 0,
  };
}
