// Reads and checks the configs and tokenizer of a checkpoint, for inspection as well as for loading.

import type { z } from "zod";
import { disagreements } from "./agreement.ts";
import {
  classifierFreeConfigSchema,
  generationConfigSchema,
  modelIndexSchema,
  PIPELINE_CLASSES,
  type SchedulerConfig,
  schedulerConfigSchema,
  type TextEncoderConfig,
  textEncoderConfigSchema,
  type TransformerConfig,
  transformerConfigSchema,
  type VQModelConfig,
  vqModelConfigSchema,
} from "./config.ts";
import { ClassLabels } from "@vqd/shared/tokenizer/class-labels.ts";
import { CheckpointError } from "./errors.ts";
import type { CheckpointFolder } from "./files/folder.ts";
import { GENERATION_CONFIG, MODEL_INDEX, SCHEDULER_CONFIG } from "./model-files.ts";
import { readTokenizer, type TokenizerInfo } from "./tokenizer/read-tokenizer.ts";

/** What reads the prompts of a model that is conditioned by text. */
export interface TextParts {
  readonly kind: "text";
  readonly textEncoder: TextEncoderConfig;
  readonly tokenizer: TokenizerInfo;
  /** False if the unconditional prompt is the encoded empty text. */
  readonly learnableUnconditional: boolean;
}

/** By what a model's images are asked for. */
export type PromptParts =
  | TextParts
  | { readonly kind: "class"; readonly labels: ClassLabels }
  | { readonly kind: "none" };

export interface CheckpointParts {
  readonly scheduler: SchedulerConfig;
  readonly transformer: TransformerConfig;
  readonly vqvae: VQModelConfig;
  readonly prompts: PromptParts;
  /** Used by calls that give no guidance scale. */
  readonly defaultGuidanceScale: number;
}

/** The parts of TextParts are listed one by one: any of them can be missing. */
export type FoundParts = {
  -readonly [Part in keyof CheckpointParts | keyof TextParts as Exclude<Part, "kind">]:
    | (CheckpointParts & TextParts)[Part]
    | undefined;
};

/** The parts that can be read, and an error for each that cannot or that contradicts another. */
export function findParts(folder: CheckpointFolder): { parts: FoundParts; problems: CheckpointError[] } {
  const problems: CheckpointError[] = [];
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      problems.push(error);
      return undefined;
    }
  };
  const index = attempt(() => folder.json(MODEL_INDEX, modelIndexSchema));
  const scheduler = attempt(() => folder.json(SCHEDULER_CONFIG, schedulerConfigSchema));
  const transformer = attempt(() => folder.json("transformer/config.json", transformerConfigSchema));
  const vqvae = attempt(() => folder.json("vqvae/config.json", vqModelConfigSchema));
  // The file is optional.
  const generation = attempt(() =>
    folder.has(GENERATION_CONFIG)
      ? folder.json(GENERATION_CONFIG, generationConfigSchema)
      : generationConfigSchema.parse({}),
  );
  const text =
    transformer !== undefined && transformer.conditioning !== "text"
      ? { textEncoder: undefined, tokenizer: undefined, learnableUnconditional: undefined }
      : findText(folder, attempt);
  if (index && transformer) attempt(() => checkClass(folder, index, transformer));
  if (scheduler && transformer && vqvae && (text.textEncoder || transformer.conditioning !== "text")) {
    const { textEncoder } = text;
    problems.push(...disagreements(folder.dir, { scheduler, textEncoder, transformer, vqvae }));
  }
  const parts = {
    scheduler,
    transformer,
    vqvae,
    ...text,
    prompts: transformer && index && promptParts(transformer, index, text),
    defaultGuidanceScale: generation?.guidance_scale,
  };
  return { parts, problems };
}

type FoundText = { readonly [Part in Exclude<keyof TextParts, "kind">]: TextParts[Part] | undefined };

function findText(folder: CheckpointFolder, attempt: <T>(read: () => T) => T | undefined): FoundText {
  const textEncoder = attempt(() => folder.json("text_encoder/config.json", textEncoderConfigSchema));
  const unconditional = attempt(() =>
    folder.json("learned_classifier_free_sampling_embeddings/config.json", classifierFreeConfigSchema),
  );
  const tokenizer = attempt(() => readTokenizer(folder, textEncoder));
  return { textEncoder, tokenizer, learnableUnconditional: unconditional?.learnable };
}

type ModelIndex = z.infer<typeof modelIndexSchema>;

function checkClass(folder: CheckpointFolder, index: ModelIndex, transformer: TransformerConfig): void {
  const path = folder.path(MODEL_INDEX);
  const { conditioning, num_classes: count } = transformer;
  const { _class_name: found, id2label = {} } = index;
  const expected = PIPELINE_CLASSES[conditioning];
  const fail = (reason: string): never => {
    throw new CheckpointError(path, reason, { remedy: "take all components from the same model" });
  };
  if (found !== expected) {
    fail(`_class_name: is ${found}, but the transformer's conditioning implies ${expected}`);
  }
  const beyond = Object.keys(id2label).find((label) => Number(label) >= count);
  if (beyond !== undefined) fail(`id2label: has label ${beyond}, but the transformer has ${count} classes`);
}

function promptParts(
  { conditioning, num_classes: count }: TransformerConfig,
  { id2label = {} }: ModelIndex,
  { textEncoder, tokenizer, learnableUnconditional }: FoundText,
): PromptParts | undefined {
  switch (conditioning) {
    case "text":
      return textEncoder && tokenizer && learnableUnconditional !== undefined
        ? { kind: "text", textEncoder, tokenizer, learnableUnconditional }
        : undefined;
    case "class": {
      const names = Object.entries(id2label).map(([label, name]) => [Number(label), name] as const);
      return { kind: "class", labels: new ClassLabels(count, new Map(names)) };
    }
    case "none":
      return { kind: "none" };
  }
}

/** All parts. Throws the first CheckpointError. */
export function readParts(folder: CheckpointFolder): CheckpointParts {
  const { parts, problems } = findParts(folder);
  const [problem] = problems;
  if (problem !== undefined) throw problem;
  const { scheduler, transformer, vqvae, prompts, defaultGuidanceScale } = parts;
  // Without problems, all parts have been read.
  return { scheduler, transformer, vqvae, prompts, defaultGuidanceScale } as CheckpointParts;
}
