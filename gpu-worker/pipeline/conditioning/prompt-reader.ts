// From what a caller writes to a prompt's ids: tokens of a text, the label of a class, or nothing.

import { type ClipTokenizer, createClipTokenizer, type PaddedTokens } from "@vqd/shared/tokenizer/clip.ts";
import { UnknownClassError } from "@vqd/shared/tokenizer/class-labels.ts";
import type { PromptParts } from "../../checkpoint/parts.ts";
import { InvalidInputError } from "../errors.ts";

/** A prompt's ids, padded or cut to the model's length. Throws InvalidInputError for a prompt that the model cannot have. */
export type PromptReader = (text: string) => PaddedTokens;

const single = (id: number): PaddedTokens => ({ ids: [id], tokenCount: 1, truncated: false });

export function promptReader(prompts: PromptParts): PromptReader {
  switch (prompts.kind) {
    case "text": {
      const { tables, maxLength, padTokenId } = prompts.tokenizer;
      // Created on first use: reading the vocabulary takes a while, and callers with token ids never need it.
      let tokenizer: ClipTokenizer | undefined;
      return (text) =>
        (tokenizer ??= createClipTokenizer(tables)).encodePadded(text, { maxLength, padTokenId });
    }
    case "class":
      return (text) => {
        try {
          return single(prompts.labels.find(text));
        } catch (error) {
          if (!(error instanceof UnknownClassError)) throw error;
          throw new InvalidInputError("prompt", error.message);
        }
      };
    case "none":
      return (text) => {
        if (text.trim() === "") return single(0);
        throw new InvalidInputError("prompt", "must be empty: the model is not conditioned");
      };
  }
}
