// A checkpoint folder in the layout of diffusers' VQDiffusionPipeline: configs, weights, tokenizer, version.

import { createHash } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import type { z } from "zod";
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
import type { DigestCache } from "./digest-cache.ts";
import { CheckpointError } from "./errors.ts";
import { readJson } from "./json.ts";
import { hashCheckpoint } from "./hash.ts";
import { elementCount, isWeight, type TensorSource } from "./weights/tensor.ts";
import { readTokenizer, type TokenizerInfo } from "./tokenizer-files.ts";
import { listFiles, openWeights, pickWeights, safetensorsName } from "./weights/weight-files.ts";
import { COMPONENTS, type Component } from "./weights/components.ts";

export type { Component } from "./weights/components.ts";

const GENERATION_CONFIG = "generation_config.json";
const UNCONDITIONAL = "learned_classifier_free_sampling_embeddings" satisfies Component;

/** Named weights of one component, each checked against the shape that the configs imply. */
export class Weights {
  readonly #source: TensorSource;
  constructor(source: TensorSource) {
    this.#source = source;
  }

  has(name: string): boolean {
    return this.#source.entries.has(name);
  }

  /** The first of `names` that the file has: old files name some tensors differently. */
  firstOf(...names: string[]): string {
    const found = names.find((name) => this.has(name));
    if (found === undefined)
      throw new CheckpointError(this.#source.path, `tensor ${names.join(" or ")} is missing`);
    return found;
  }

  /** The values, row-major; throws if the tensor is missing or its shape is not `shape`. */
  tensor(name: string, shape: readonly number[]): Float32Array {
    const found = this.#source.entries.get(name)?.shape;
    if (found !== undefined && found.join() !== shape.join()) {
      throw new CheckpointError(
        this.#source.path,
        `tensor ${name} has shape [${found.join(", ")}], the config implies [${shape.join(", ")}]`,
      );
    }
    return this.#source.read(name);
  }

  get parameters(): number {
    const weights = [...this.#source.entries.values()].filter(isWeight);
    return weights.reduce((sum, entry) => sum + elementCount(entry.shape), 0);
  }

  close(): void {
    this.#source.close();
  }
}

export class DiffusersCheckpoint {
  /** Absolute path of the folder. */
  readonly dir: string;
  readonly scheduler: SchedulerConfig;
  readonly textEncoder: TextEncoderConfig;
  readonly transformer: TransformerConfig;
  readonly vqvae: VQModelConfig;
  /** False where the unconditional prompt is the encoded empty text. */
  readonly learnableUnconditional: boolean;
  readonly tokenizer: TokenizerInfo;
  /** Of a call that says nothing. */
  readonly defaultGuidanceScale: number;
  readonly #variant: string | undefined;

  /** Reads and checks all configs; `variant` ("fp16") is preferred where weights come in several. Throws a
   * CheckpointError that names the file and what is wrong. */
  constructor(dir: string, { variant }: { variant?: string | undefined } = {}) {
    this.dir = resolve(dir);
    this.#variant = variant;
    if (!existsSync(this.dir) || !statSync(this.dir).isDirectory()) {
      throw new CheckpointError(this.dir, "no such folder");
    }
    this.#json("model_index.json", modelIndexSchema);
    this.scheduler = this.#json("scheduler/scheduler_config.json", schedulerConfigSchema);
    this.textEncoder = this.#json("text_encoder/config.json", textEncoderConfigSchema);
    this.transformer = this.#json("transformer/config.json", transformerConfigSchema);
    this.vqvae = this.#json("vqvae/config.json", vqModelConfigSchema);
    this.learnableUnconditional = this.#json(
      `${UNCONDITIONAL}/config.json`,
      classifierFreeConfigSchema,
    ).learnable;
    this.tokenizer = readTokenizer(this.dir, this.textEncoder.max_position_embeddings);
    this.defaultGuidanceScale = readGenerationConfig(this.dir).guidance_scale;
    const [disagreement] = disagreements(this.dir, this);
    if (disagreement !== undefined) throw disagreement;
  }

  get name(): string {
    return basename(this.dir);
  }

  /** Opens the weights of a component; the caller closes them. */
  weights(component: Component): Weights {
    return new Weights(openWeights(this.weightsPath(component)));
  }

  /** The file, or the index of files, that the weights of a component are read from. */
  weightsPath(component: Component): string {
    const folder = join(this.dir, component);
    const file = pickWeights(listFiles(folder), component, this.#variant);
    if (file === undefined) {
      throw new CheckpointError(
        join(folder, safetensorsName(component)),
        "the weights are missing, and there is no .bin file of them",
      );
    }
    return join(folder, file);
  }

  /** SHA-256, hex, of all files that decide what the checkpoint computes; read anew where `digests` do not know them. */
  version(digests?: DigestCache): string {
    const hash = hashCheckpoint(this.dir, [...COMPONENTS, "scheduler", "tokenizer"], digests);
    // The files of all variants are in the hash, and which of them is read is not.
    return this.#variant === undefined
      ? hash
      : createHash("sha256").update(`${hash}\0${this.#variant}`).digest("hex");
  }

  /** Number of weights of all components. */
  parameters(): number {
    return COMPONENTS.filter(
      (component) => component !== UNCONDITIONAL || this.learnableUnconditional,
    ).reduce((sum, component) => {
      const weights = this.weights(component);
      try {
        return sum + weights.parameters;
      } finally {
        weights.close();
      }
    }, 0);
  }

  #json<T>(file: string, schema: z.ZodType<T>): T {
    return readJson(join(this.dir, file), schema);
  }
}

/** The file is optional; throws a CheckpointError if it is there and wrong. */
export function readGenerationConfig(dir: string): z.infer<typeof generationConfigSchema> {
  const path = join(dir, GENERATION_CONFIG);
  return existsSync(path) ? readJson(path, generationConfigSchema) : generationConfigSchema.parse({});
}
