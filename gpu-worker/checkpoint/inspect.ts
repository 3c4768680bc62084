// Everything about a checkpoint folder that can be said without running it, and everything that is wrong with it.

import { relative } from "node:path";
import type { Conditioning } from "./config.ts";
import { CheckpointError } from "./errors.ts";
import {
  type ExpectedTensor,
  textEncoderTensors,
  transformerTensors,
  unconditionalTensors,
  vqModelTensors,
} from "./expected-tensors.ts";
import { CheckpointFolder } from "./files/folder.ts";
import { describeExtensions } from "./extensions.ts";
import { checkGolden } from "./golden.ts";
import { findParts } from "./parts.ts";
import { COMPONENTS, type Component } from "./weights/components.ts";
import { elementCount, isWeight, type TensorEntry, type TensorSource } from "./weights/tensor.ts";
import { findWeights, openWeights } from "./weights/weight-files.ts";

export interface ComponentInspection {
  readonly component: Component;
  /** What its weights are read from, below the folder; null if there is nothing. */
  readonly file: string | null;
  readonly bytes: number;
  readonly dtypes: readonly string[];
  readonly tensors: readonly Pick<TensorEntry, "name" | "dtype" | "shape">[];
  readonly parameters: number;
  /** Names of tensors that the model has no use for. */
  readonly unused: readonly string[];
}

export interface Inspection {
  readonly dir: string;
  readonly components: readonly ComponentInspection[];
  /** Null where the configs that say it cannot be read. */
  readonly imageSize: number | null;
  readonly latentSize: number | null;
  readonly codes: number | null;
  readonly timesteps: number | null;
  readonly layers: number | null;
  readonly textLength: number | null;
  /** Tokens, special ones included, that are matched in a prompt as a whole. */
  readonly addedTokens: readonly string[];
  readonly learnableUnconditional: boolean | null;
  readonly conditioning: Conditioning | null;
  /** Of a model that is conditioned by class. */
  readonly classes: number | null;
  readonly namedClasses: number;
  /** What the configs say that diffusers does not know, in words. */
  readonly extensions: readonly string[];
  /** Each names its file. */
  readonly problems: readonly string[];
}

/** Reads all headers and configs of a checkpoint in the diffusers layout; nothing of it has to be in order. */
export function inspectCheckpoint(dir: string, variant?: string): Inspection {
  const folder = new CheckpointFolder(dir);
  const { parts, problems: found } = findParts(folder);
  const { scheduler, textEncoder, transformer, vqvae, tokenizer, learnableUnconditional } = parts;
  const problems = found.map(({ message }) => message);
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      problems.push(error.message);
      return undefined;
    }
  };

  const expected: Record<Component, readonly ExpectedTensor[] | undefined> = {
    text_encoder: textEncoder && textEncoderTensors(textEncoder),
    transformer: transformer && transformerTensors(transformer),
    vqvae: vqvae && vqModelTensors(vqvae),
    learned_classifier_free_sampling_embeddings:
      textEncoder && tokenizer && learnableUnconditional === true
        ? unconditionalTensors(tokenizer.maxLength, textEncoder.hidden_size)
        : undefined,
  };
  const hasText = (transformer?.conditioning ?? "text") === "text";
  const isNeeded: Record<Component, boolean> = {
    text_encoder: hasText,
    transformer: true,
    vqvae: true,
    learned_classifier_free_sampling_embeddings: hasText && learnableUnconditional === true,
  };
  const needed = COMPONENTS.filter((component) => isNeeded[component]);
  const components = needed.map((component): ComponentInspection => {
    const source = attempt(() => openWeights(folder, findWeights(folder, component, variant)));
    if (source === undefined) {
      return { component, file: null, bytes: 0, dtypes: [], tensors: [], parameters: 0, unused: [] };
    }
    try {
      const wanted = expected[component];
      if (wanted !== undefined) problems.push(...mismatches(source, wanted));
      return describe(folder.dir, component, source, wanted ?? []);
    } finally {
      source.close();
    }
  });

  const textLength = tokenizer?.maxLength ?? (hasText ? undefined : 1);
  if (transformer && vqvae && scheduler && textLength !== undefined) {
    const sizes = {
      numEmbeddings: vqvae.num_tokens,
      numTrainTimesteps: scheduler.num_train_timesteps,
      length: transformer.sample_size ** 2,
      textLength,
    };
    attempt(() => checkGolden(folder, sizes));
  }
  return {
    dir: folder.dir,
    components,
    imageSize:
      transformer && vqvae ? transformer.sample_size * 2 ** (vqvae.block_out_channels.length - 1) : null,
    latentSize: transformer?.sample_size ?? null,
    codes: vqvae?.num_tokens ?? null,
    timesteps: scheduler?.num_train_timesteps ?? null,
    layers: transformer?.num_layers ?? null,
    textLength: textEncoder && tokenizer ? tokenizer.maxLength : null,
    addedTokens: tokenizer ? tokenizer.tables.addedTokens.map(({ content }) => content) : [],
    learnableUnconditional: learnableUnconditional ?? null,
    conditioning: transformer?.conditioning ?? null,
    classes: transformer?.conditioning === "class" ? transformer.num_classes : null,
    namedClasses: parts.prompts?.kind === "class" ? parts.prompts.labels.names.size : 0,
    extensions: describeExtensions(transformer, vqvae, tokenizer),
    problems,
  };
}

/** What is missing from the file, has another shape than the config implies, or is of no kind of float. */
function mismatches(source: TensorSource, expected: readonly ExpectedTensor[]): string[] {
  return expected.flatMap(({ names, shape }) => {
    const name = names.find((candidate) => source.entries.has(candidate)) ?? names[0];
    const entry = source.entries.get(name);
    const fail = (reason: string, remedy: string): string[] => [
      new CheckpointError(source.path, reason, { remedy }).message,
    ];
    const other = "take config and weights from the same model";
    if (entry === undefined) return fail(`tensor ${names.join(" or ")} is missing`, other);
    if (entry.shape.join() !== shape.join()) {
      const found = `tensor ${name} has shape [${entry.shape.join(", ")}]`;
      return fail(`${found}, the config implies [${shape.join(", ")}]`, other);
    }
    if (isWeight(entry)) return [];
    return fail(
      `tensor ${name}: weights of dtype ${entry.dtype} are not supported`,
      "save them as fp32, fp16 or bf16",
    );
  });
}

function describe(
  dir: string,
  component: Component,
  source: TensorSource,
  expected: readonly ExpectedTensor[],
): ComponentInspection {
  const known = new Set(expected.flatMap(({ names }) => names));
  const tensors = [...source.entries.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const weights = [...source.entries.values()].filter(isWeight);
  return {
    component,
    file: relative(dir, source.path),
    bytes: source.bytes,
    dtypes: [...new Set(weights.map(({ dtype }) => dtype))].toSorted(),
    tensors,
    parameters: weights.reduce((sum, { shape }) => sum + elementCount(shape), 0),
    unused: expected.length === 0 ? [] : tensors.map(({ name }) => name).filter((name) => !known.has(name)),
  };
}
