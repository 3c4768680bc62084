// A checkpoint folder in the layout of diffusers' VQDiffusionPipeline: configs, weights, tokenizer, version.

import { createHash } from "node:crypto";
import { basename } from "node:path";
import type { SchedulerConfig, TransformerConfig, VQModelConfig } from "./config.ts";
import { CheckpointError } from "./errors.ts";
import type { DigestCache } from "./files/digest-cache.ts";
import { CheckpointFolder } from "./files/folder.ts";
import { hashFiles } from "./files/hash.ts";
import { MODEL_INDEX, modelFiles } from "./model-files.ts";
import { type CheckpointParts, type PromptParts, readParts, type TextParts } from "./parts.ts";
import { announceClasses } from "./tokenizer/announce.ts";
import type { TokenizerInfo } from "./tokenizer/read-tokenizer.ts";
import type { Component } from "./weights/components.ts";
import { TEXT_MODEL } from "./expected-tensors.ts";
import { elementCount, isWeight, type TensorSource } from "./weights/tensor.ts";
import { findWeights, openWeights } from "./weights/weight-files.ts";

export type { Component } from "./weights/components.ts";

/** Those that hold weights which the model uses. */
function componentsOf(prompts: PromptParts): readonly Component[] {
  if (prompts.kind !== "text") return ["transformer", "vqvae"];
  const needed = ["text_encoder", "transformer", "vqvae"] as const;
  return prompts.learnableUnconditional ? [...needed, "learned_classifier_free_sampling_embeddings"] : needed;
}

/** Named weights of one component, each checked against the shape that the configs imply. */
export class Weights {
  readonly #source: TensorSource;
  constructor(source: TensorSource) {
    this.#source = source;
  }

  has(name: string): boolean {
    return this.#source.entries.has(this.#nameIn(name));
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
    const own = this.#nameIn(name);
    const found = this.#source.entries.get(own)?.shape;
    if (found !== undefined && found.join() !== shape.join()) {
      throw new CheckpointError(
        this.#source.path,
        `tensor ${own} has shape [${found.join(", ")}], the config implies [${shape.join(", ")}]`,
      );
    }
    return this.#source.read(own);
  }

  get parameters(): number {
    const weights = [...this.#source.entries.values()].filter(isWeight);
    return weights.reduce((sum, entry) => sum + elementCount(entry.shape), 0);
  }

  close(): void {
    this.#source.close();
  }

  /** transformers 5 names the text encoder's tensors without the prefix that saved files have. */
  #nameIn(name: string): string {
    if (this.#source.entries.has(name) || !name.startsWith(TEXT_MODEL)) return name;
    const bare = name.slice(TEXT_MODEL.length);
    return this.#source.entries.has(bare) ? bare : name;
  }
}

export class DiffusersCheckpoint implements CheckpointParts {
  readonly folder: CheckpointFolder;
  readonly scheduler: SchedulerConfig;
  readonly transformer: TransformerConfig;
  readonly vqvae: VQModelConfig;
  readonly prompts: PromptParts;
  readonly defaultGuidanceScale: number;
  readonly #variant: string | undefined;

  /** Reads and checks all configs; `variant` ("fp16") is preferred where weights come in several. Throws a
   * CheckpointError that names the file and what is wrong. */
  constructor(dir: string, { variant }: { variant?: string | undefined } = {}) {
    this.folder = new CheckpointFolder(dir);
    this.#variant = variant;
    const parts = readParts(this.folder);
    this.scheduler = parts.scheduler;
    this.transformer = parts.transformer;
    this.vqvae = parts.vqvae;
    this.prompts = parts.prompts;
    this.defaultGuidanceScale = parts.defaultGuidanceScale;
  }

  /** What reads prompts. Throws a CheckpointError for a model that is not conditioned by text. */
  get text(): TextParts {
    if (this.prompts.kind === "text") return this.prompts;
    throw new CheckpointError(this.dir, "is not conditioned by text, and has no text encoder");
  }

  /** Of a model that is conditioned by text; throws a CheckpointError for others. */
  get tokenizer(): TokenizerInfo {
    return this.text.tokenizer;
  }

  /** What edges are told of how prompts are read; empty for a model that takes none. Throws a CheckpointError. */
  get announcement(): Uint8Array {
    switch (this.prompts.kind) {
      case "text":
        return this.prompts.tokenizer.announcement;
      case "class":
        return announceClasses(this.prompts.labels, this.folder.path(MODEL_INDEX));
      case "none":
        return new Uint8Array();
    }
  }

  /** Absolute path of the folder. */
  get dir(): string {
    return this.folder.dir;
  }

  get name(): string {
    return basename(this.dir);
  }

  /** Opens the weights of a component; the caller closes them. */
  weights(component: Component): Weights {
    return new Weights(openWeights(this.folder, this.weightsFile(component)));
  }

  /** The weight file, or index, of a component, relative to the folder. */
  weightsFile(component: Component): string {
    return findWeights(this.folder, component, this.#variant);
  }

  /** SHA-256, hex, of all files that decide what the checkpoint computes; read again where `digests` do not know them. */
  version(digests?: DigestCache): string {
    const hash = hashFiles(this.folder, modelFiles(this.folder, this.#variant), digests);
    return this.#variant === undefined
      ? hash
      : createHash("sha256").update(`${hash}\0${this.#variant}`).digest("hex");
  }

  /** Number of weights of all components. */
  parameters(): number {
    return componentsOf(this.prompts).reduce((sum, component) => {
      const weights = this.weights(component);
      try {
        return sum + weights.parameters;
      } finally {
        weights.close();
      }
    }, 0);
  }
}
