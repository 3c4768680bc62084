// Reads and checks the configs and tokenizer of a checkpoint, for inspection as well as for loading.

import { disagreements } from "./agreement.ts";
import {
  classifierFreeConfigSchema,
  generationConfigSchema,
  modelIndexSchema,
  type SchedulerConfig,
  schedulerConfigSchema,
  type TextEncoderConfig,
  textEncoderConfigSchema,
  type TransformerConfig,
  transformerConfigSchema,
  type VQModelConfig,
  vqModelConfigSchema,
} from "./config.ts";
import { CheckpointError } from "./errors.ts";
import type { CheckpointFolder } from "./files/folder.ts";
import { GENERATION_CONFIG, MODEL_INDEX, SCHEDULER_CONFIG } from "./model-files.ts";
import { readTokenizer, type TokenizerInfo } from "./tokenizer/read-tokenizer.ts";

export interface CheckpointParts {
  readonly scheduler: SchedulerConfig;
  readonly textEncoder: TextEncoderConfig;
  readonly transformer: TransformerConfig;
  readonly vqvae: VQModelConfig;
  /** False if the unconditional prompt is the encoded empty text. */
  readonly learnableUnconditional: boolean;
  readonly tokenizer: TokenizerInfo;
  /** Used by calls that give no guidance scale. */
  readonly defaultGuidanceScale: number;
}

type Found = { -readonly [Part in keyof CheckpointParts]: CheckpointParts[Part] | undefined };

/** The parts that can be read, and an error for each that cannot or that contradicts another. */
export function findParts(folder: CheckpointFolder): { parts: Found; problems: CheckpointError[] } {
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
  attempt(() => folder.json(MODEL_INDEX, modelIndexSchema));
  const scheduler = attempt(() => folder.json(SCHEDULER_CONFIG, schedulerConfigSchema));
  const textEncoder = attempt(() => folder.json("text_encoder/config.json", textEncoderConfigSchema));
  const transformer = attempt(() => folder.json("transformer/config.json", transformerConfigSchema));
  const vqvae = attempt(() => folder.json("vqvae/config.json", vqModelConfigSchema));
  const unconditional = attempt(() =>
    folder.json("learned_classifier_free_sampling_embeddings/config.json", classifierFreeConfigSchema),
  );
  const tokenizer = attempt(() => readTokenizer(folder, textEncoder));
  // The file is optional.
  const generation = attempt(() =>
    folder.has(GENERATION_CONFIG)
      ? folder.json(GENERATION_CONFIG, generationConfigSchema)
      : generationConfigSchema.parse({}),
  );
  if (scheduler && textEncoder && transformer && vqvae) {
    problems.push(...disagreements(folder.dir, { scheduler, textEncoder, transformer, vqvae }));
  }
  const parts = {
    scheduler,
    textEncoder,
    transformer,
    vqvae,
    learnableUnconditional: unconditional?.learnable,
    tokenizer,
    defaultGuidanceScale: generation?.guidance_scale,
  };
  return { parts, problems };
}

/** All parts. Throws the first CheckpointError. */
export function readParts(folder: CheckpointFolder): CheckpointParts {
  const { parts, problems } = findParts(folder);
  const [problem] = problems;
  if (problem !== undefined) throw problem;
  // Without problems, all parts have been read.
  return parts as CheckpointParts;
}
