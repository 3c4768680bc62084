// CLIP's tokenizer as the original reads prompts with it, in transformers' files.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { BOS_TOKEN, EOS_TOKEN } from "@vqd/shared/tokenizer/clip.ts";
import { canonicalMerges, parseMerges } from "@vqd/shared/tokenizer/vocabulary.ts";
import { TOKENIZER_FILES } from "../model-files.ts";

/** The bytes, and the two ends, that are symbols besides the merges' up to `end_idx`. */
const OTHERS = 256 + 2;

/**
 * The files by name. The vocabulary is the first part of CLIP's that a config's `end_idx` gives: all of it in the published
 * models. Prompts are padded with id 0 and keep their end token when they are cut; a `!` in them is a word like others.
 */
export function tokenizerTexts({
  endIndex,
  length,
}: {
  endIndex: number;
  length: number;
}): Record<string, string> {
  const path = fileURLToPath(import.meta.resolve("@vqd/shared/tokenizer/clip-merges.txt"));
  const merges = parseMerges(readFileSync(path, "utf8")).slice(0, endIndex - OTHERS);
  const config = {
    tokenizer_class: "CLIPTokenizer",
    bos_token: BOS_TOKEN,
    eos_token: EOS_TOKEN,
    unk_token: EOS_TOKEN,
    pad_token: "!",
    model_max_length: length,
    // The pad token is not to be found in texts.
    split_special_tokens: true,
    vqd: { keeps_end_token: true },
  };
  return {
    [TOKENIZER_FILES.merges]: canonicalMerges(merges),
    [TOKENIZER_FILES.config]: `${JSON.stringify(config, null, 2)}\n`,
  };
}
