// The files that make up a checkpoint: those that are hashed, converted and downloaded. Other files in the folder are ignored.

import type { CheckpointFolder } from "./files/folder.ts";
import { COMPONENTS, componentsOf } from "./weights/components.ts";
import { pickWeights, weightFiles } from "./weights/weight-files.ts";

export const MODEL_INDEX = "model_index.json";
export const GENERATION_CONFIG = "generation_config.json";
export const GOLDEN = "golden.json";
export const SCHEDULER_CONFIG = "scheduler/scheduler_config.json";
export const TOKENIZER_FILES = {
  config: "tokenizer/tokenizer_config.json",
  json: "tokenizer/tokenizer.json",
  merges: "tokenizer/merges.txt",
  vocab: "tokenizer/vocab.json",
  special: "tokenizer/special_tokens_map.json",
  added: "tokenizer/added_tokens.json",
} as const;

/** Required in a checkpoint; in one with a text encoder along with merges.txt or tokenizer.json. */
export const requiredTexts = (isText: boolean): readonly string[] => [
  MODEL_INDEX,
  SCHEDULER_CONFIG,
  ...(isText ? [TOKENIZER_FILES.config] : []),
  ...componentsOf(isText).map((component) => `${component}/config.json`),
];

/** All configs and tables that a checkpoint can have. */
export const MODEL_TEXTS: readonly string[] = [
  ...new Set([...requiredTexts(true), GENERATION_CONFIG, GOLDEN, ...Object.values(TOKENIZER_FILES)]),
];

/** Those of MODEL_TEXTS that the folder contains. */
export const presentTexts = (folder: CheckpointFolder): string[] =>
  MODEL_TEXTS.filter((name) => folder.has(name));

/** All files of the model, relative to the folder: configs, tables and the weight files in use. */
export function modelFiles(folder: CheckpointFolder, variant?: string): string[] {
  const weights = COMPONENTS.flatMap((component) => {
    const file = pickWeights(folder.names(component), component, variant);
    return file === undefined ? [] : weightFiles(folder, `${component}/${file}`);
  });
  return [...presentTexts(folder), ...weights];
}
