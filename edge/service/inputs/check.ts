// Which fields of an input go together, as far as they say what its images start from. Checked before anything is fetched.

import type { PredictionInput } from "../schemas.ts";

export type Refuse = (field: keyof PredictionInput, message: string) => never;

const isGiven = (value: unknown): boolean => value !== undefined && value !== null && value !== "";

/** Settings of runs, which have no effect where tokens are only decoded. */
const OF_RUNS = [
  "preset",
  "num_inference_steps",
  "guidance_scale",
  "truncation_rate",
  "seed",
  "seeds",
  "scheduler",
  "infer_speed",
  "order",
  "remasking",
  "temperature",
  "prior_rule",
  "prior_weight",
  "negative_prompt",
  "prompt_too_long",
  "num_previews",
] as const satisfies (keyof PredictionInput)[];

/** Whether the input's tokens are only decoded. */
export const isDecoding = ({
  tokens,
  prompt,
  class_label: label,
  mask,
  strength,
}: PredictionInput): boolean => isGiven(tokens) && ![prompt, label, mask, strength].some(isGiven);

/** Calls `refuse` for a field that contradicts another one, or has no effect without it. */
export function checkStart(input: PredictionInput, refuse: Refuse): void {
  const { image, mask, tokens } = input;
  const given = (["image", "tokens", "from"] as const).filter((field) => isGiven(input[field]));
  const [first, second] = given;
  if (second !== undefined) refuse(second, `cannot be given together with ${first}`);
  if (isGiven(mask) && first === undefined) refuse("mask", "requires image, tokens or from");
  const byAlpha = input.mask_channel === "alpha";
  if (isGiven(input.mask_channel) && !isGiven(mask) && !(byAlpha && isGiven(image))) {
    refuse("mask_channel", byAlpha ? "requires mask or image" : "requires mask");
  }
  if (isGiven(input.feather)) {
    if (!isGiven(image) || !(isGiven(mask) || byAlpha)) refuse("feather", "requires image and a mask");
    if (input.output_format === "tokens") refuse("feather", "must be omitted for tokens: nothing is decoded");
  }
  if (isGiven(input.strength) && !isGiven(image) && !isGiven(tokens)) {
    refuse("strength", "requires image or tokens");
  }
  if (!isDecoding(input)) return;
  for (const field of OF_RUNS) {
    if (!isGiven(input[field])) continue;
    refuse(field, "has no effect without a prompt, a mask or a strength: the tokens are only decoded");
  }
  for (const field of ["num_outputs", "num_images_per_prompt"] as const) {
    if ((input[field] ?? 1) !== 1)
      refuse(field, "must be 1 or omitted: each image of the tokens is decoded once");
  }
  if (input.embed_settings)
    refuse("embed_settings", "must be false or omitted: tokens do not tell their settings");
}
