// A checkpoint folder in the layout of diffusers' VQDiffusionPipeline: configs, weights, tokenizer, version.

import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { z } from "zod";
import {
  classifierFreeConfigSchema,
  modelIndexSchema,
  type SchedulerConfig,
  schedulerConfigSchema,
  specialTokensSchema,
  type TextEncoderConfig,
  textEncoderConfigSchema,
  tokenizerConfigSchema,
  type TransformerConfig,
  transformerConfigSchema,
  type VQModelConfig,
  vqModelConfigSchema,
} from "./config.ts";
import { CheckpointError } from "./errors.ts";
import { readJson } from "./json.ts";
import { hashCheckpoint } from "./hash.ts";
import { elementCount, isFloat, type TensorSource } from "./tensor.ts";
import {
  COMPONENTS,
  type Component,
  listFiles,
  openWeights,
  pickWeights,
  safetensorsName,
} from "./weight-files.ts";

/** CLIP's vocabulary: 256 bytes, 256 bytes that end a word, the merges, and these two. */
const BOS_TOKEN = "<|startoftext|>";
const EOS_TOKEN = "<|endoftext|>";
const BOS_TOKEN_ID = 49_406;
const EOS_TOKEN_ID = 49_407;

export type { Component } from "./weight-files.ts";

const UNCONDITIONAL = "learned_classifier_free_sampling_embeddings" satisfies Component;

export interface TokenizerInfo {
  readonly mergesPath: string;
  readonly mergesSha256: string;
  readonly padTokenId: number;
  readonly bosTokenId: number;
  readonly eosTokenId: number;
  /** Token ids the text encoder takes per prompt. */
  readonly maxLength: number;
}

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
    const weights = [...this.#source.entries.values()].filter((entry) => isFloat(entry.dtype));
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
    this.tokenizer = this.#readTokenizer();
    this.#checkAgreement();
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

  /** SHA-256, hex, of all files that decide what the checkpoint computes. */
  version(): string {
    const hash = hashCheckpoint(this.dir, [...COMPONENTS, "scheduler", "tokenizer"]);
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

  #readTokenizer(): TokenizerInfo {
    const mergesPath = join(this.dir, "tokenizer", "merges.txt");
    if (!existsSync(mergesPath)) throw new CheckpointError(mergesPath, "the file is missing");
    const config = this.#json("tokenizer/tokenizer_config.json", tokenizerConfigSchema);
    const special = existsSync(join(this.dir, "tokenizer", "special_tokens_map.json"))
      ? this.#json("tokenizer/special_tokens_map.json", specialTokensSchema)
      : {};
    return {
      mergesPath,
      mergesSha256: createHash("sha256").update(readFileSync(mergesPath)).digest("hex"),
      padTokenId: this.#tokenId(special.pad_token ?? config.pad_token ?? EOS_TOKEN),
      bosTokenId: BOS_TOKEN_ID,
      eosTokenId: EOS_TOKEN_ID,
      // The tokenizer's own limit can be larger than what the encoder has positions for.
      maxLength: Math.min(config.model_max_length ?? Infinity, this.textEncoder.max_position_embeddings),
    };
  }

  /** The published checkpoint pads with "!" (id 0), CLIP's own config with the end of text. */
  #tokenId(token: string): number {
    if (token === BOS_TOKEN) return BOS_TOKEN_ID;
    if (token === EOS_TOKEN) return EOS_TOKEN_ID;
    const path = join(this.dir, "tokenizer", "vocab.json");
    const vocabulary = this.#json("tokenizer/vocab.json", z.record(z.string(), z.int().min(0)));
    const id = vocabulary[token];
    if (id === undefined)
      throw new CheckpointError(path, `the pad token ${JSON.stringify(token)} is not in it`);
    return id;
  }

  #checkAgreement(): void {
    const { scheduler, textEncoder, transformer, vqvae } = this;
    const agree = (file: string, what: string, found: number, expected: number): void => {
      if (found !== expected) {
        throw new CheckpointError(
          join(this.dir, file),
          `${what} is ${found}, the other components imply ${expected}`,
        );
      }
    };
    const classes = vqvae.num_vq_embeddings + 1;
    agree("transformer/config.json", "num_vector_embeds", transformer.num_vector_embeds, classes);
    agree("scheduler/scheduler_config.json", "num_vec_classes", scheduler.num_vec_classes, classes);
    agree(
      "transformer/config.json",
      "cross_attention_dim",
      transformer.cross_attention_dim,
      textEncoder.hidden_size,
    );
    if (scheduler.num_train_timesteps > transformer.num_embeds_ada_norm) {
      agree(
        "scheduler/scheduler_config.json",
        "num_train_timesteps",
        scheduler.num_train_timesteps,
        transformer.num_embeds_ada_norm,
      );
    }
    agree(
      "vqvae/config.json",
      "length of up_block_types",
      vqvae.up_block_types.length,
      vqvae.block_out_channels.length,
    );
  }
}
