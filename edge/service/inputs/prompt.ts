// Which prompts a model takes: texts, classes, or none.

import type { ModelManifest } from "@vqd/shared/model.ts";
import type { PredictionInput } from "../schemas.ts";
import type { Refuse } from "./check.ts";

const isBlank = (text: unknown): boolean => typeof text === "string" && text.trim() === "";
const isGiven = (value: unknown): boolean => value !== undefined && value !== null && !isBlank(value);

/**
 * The prompt, which a class label is too; null if there is none. Calls `refuse` for one that the model cannot have, and for one that is missing: all models
 * but those that are not conditioned need one, unless the images start from others (`starts`).
 */
export function promptOf(
  input: PredictionInput,
  { name, conditioning }: ModelManifest,
  starts: boolean,
  refuse: Refuse,
): string | string[] | null {
  const { prompt, class_label: label } = input;
  if (isGiven(label)) {
    if (conditioning !== "class")
      refuse("class_label", `must be omitted: ${name} is not conditioned by class`);
    if (isGiven(prompt)) refuse("class_label", "cannot be given together with prompt");
    return String(label);
  }
  if (conditioning === "none") {
    for (const field of ["prompt", "negative_prompt"] as const) {
      if (isGiven(input[field])) refuse(field, `must be omitted: ${name} takes no prompt`);
    }
    return null;
  }
  if (isBlank(prompt)) refuse("prompt", "must not be empty");
  // Without the text, a text model takes the empty one; a class cannot be empty.
  if (!isGiven(prompt) && (!starts || conditioning === "class")) refuse("prompt", "is required");
  return prompt ?? null;
}
