// The ids of an input's prompts, as the model's tokenizer makes them, or its classes.

import type { ModelManifest } from "@vqd/shared/model.ts";
import { UnknownClassError } from "@vqd/shared/tokenizer/class-labels.ts";
import type { ClipTokenizer, PaddedTokens } from "@vqd/shared/tokenizer/clip.ts";
import { invalidInput } from "../http/body/validation.ts";
import type { FieldPath } from "./complete-input.ts";
import type { PredictionInput } from "./schemas.ts";

type Prompts = Pick<PredictionInput, "prompt" | "negative_prompt" | "prompt_too_long">;

/** Throws a VqdError (invalid_input) if any of the tokenized prompts has been truncated. */
function refuseTooLong(
  prompts: readonly (PaddedTokens & { readonly path: string })[],
  { name, tokenizer }: ModelManifest,
): void {
  const errors = prompts
    .filter(({ truncated }) => truncated)
    .map(({ path, tokenCount }) => ({
      path,
      message: `has ${tokenCount} tokens, with those for begin and end; ${name} reads ${tokenizer.maxLength}`,
    }));
  if (errors.length > 0) throw invalidInput(errors);
}

export interface EncodedPrompts {
  /** Ids of each prompt. */
  readonly prompts: number[][];
  /** Null without one: the model then uses its own unconditional embedding. */
  readonly negative: number[] | null;
  /** Tokens of all prompts, before the cut. */
  readonly tokens: number;
  readonly truncated: boolean;
}

/** The ids of a model without a text: nobody reads them. */
const NOTHING: EncodedPrompts = { prompts: [[0]], negative: null, tokens: 0, truncated: false };

/**
 * The ids of an input's prompts. Throws a VqdError (invalid_input) for a class that the model does not have, and for a prompt that is
 * too long, if that is an error; otherwise rejects as `load` does, which brings the model's tokenizer.
 */
export async function encodePrompts(
  { prompt, negative_prompt: negativePrompt, prompt_too_long: whenTooLong }: Prompts,
  model: ModelManifest,
  load: () => Promise<ClipTokenizer>,
  pathOf: FieldPath,
): Promise<EncodedPrompts> {
  const isText = (model.conditioning ?? "text") === "text";
  if (!isText && !prompt) return NOTHING;
  const tokenizer = await load();
  const encode = (text: string, path: string): PaddedTokens & { path: string } => {
    try {
      return { ...tokenizer.encodePadded(text, model.tokenizer), path };
    } catch (error) {
      if (!(error instanceof UnknownClassError)) throw error;
      throw invalidInput([{ path, message: error.message }]);
    }
  };
  const path = pathOf("prompt");
  const prompts = Array.isArray(prompt)
    ? prompt.map((text, i) => encode(text, `${path}.${i}`))
    : [encode(prompt ?? "", path)];
  const negatives = negativePrompt ? [encode(negativePrompt, pathOf("negative_prompt"))] : [];
  const all = [...prompts, ...negatives];
  if (whenTooLong === "error") refuseTooLong(all, model);
  return {
    prompts: prompts.map(({ ids }) => ids),
    negative: negatives[0]?.ids ?? null,
    tokens: prompt ? prompts.reduce((sum, { tokenCount }) => sum + tokenCount, 0) : 0,
    truncated: all.some(({ truncated }) => truncated),
  };
}
