// Everything about a checkpoint folder that can be said without running it, and everything that is wrong with it.

import { statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { disagreements } from "./agreement.ts";
import {
  classifierFreeConfigSchema,
  modelIndexSchema,
  schedulerConfigSchema,
  textEncoderConfigSchema,
  transformerConfigSchema,
  vqModelConfigSchema,
} from "./config.ts";
import { CheckpointError } from "./errors.ts";
import {
  type ExpectedTensor,
  textEncoderTensors,
  transformerTensors,
  unconditionalTensors,
  vqModelTensors,
} from "./expected-tensors.ts";
import { readGenerationConfig } from "./diffusers-layout.ts";
import { readJson } from "./json.ts";
import { elementCount, isWeight, type TensorEntry, type TensorSource } from "./weights/tensor.ts";
import { readTokenizer } from "./tokenizer-files.ts";
import { listFiles, openWeights, pickWeights } from "./weights/weight-files.ts";
import { COMPONENTS, type Component } from "./weights/components.ts";

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
  readonly learnableUnconditional: boolean | null;
  /** Each names its file. */
  readonly problems: readonly string[];
}

/** Reads all headers and configs of a checkpoint in the diffusers layout; nothing of it has to be in order. */
export function inspectCheckpoint(folder: string, variant?: string): Inspection {
  const dir = resolve(folder);
  if (statSync(dir, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new CheckpointError(dir, "no such folder");
  }
  const problems: string[] = [];
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      problems.push(error.message);
      return undefined;
    }
  };

  attempt(() => readJson(join(dir, "model_index.json"), modelIndexSchema));
  attempt(() => readGenerationConfig(dir));
  const config = (component: string): string => join(dir, component, "config.json");
  const scheduler = attempt(() =>
    readJson(join(dir, "scheduler", "scheduler_config.json"), schedulerConfigSchema),
  );
  const textEncoder = attempt(() => readJson(config("text_encoder"), textEncoderConfigSchema));
  const transformer = attempt(() => readJson(config("transformer"), transformerConfigSchema));
  const vqvae = attempt(() => readJson(config("vqvae"), vqModelConfigSchema));
  const unconditional = attempt(() =>
    readJson(config("learned_classifier_free_sampling_embeddings"), classifierFreeConfigSchema),
  );
  const tokenizer = attempt(() => readTokenizer(dir, textEncoder?.max_position_embeddings ?? Infinity));
  if (scheduler && textEncoder && transformer && vqvae) {
    problems.push(
      ...disagreements(dir, { scheduler, textEncoder, transformer, vqvae }).map(({ message }) => message),
    );
  }

  const expected: Record<Component, readonly ExpectedTensor[] | undefined> = {
    text_encoder: textEncoder && textEncoderTensors(textEncoder),
    transformer: transformer && transformerTensors(transformer),
    vqvae: vqvae && vqModelTensors(vqvae),
    learned_classifier_free_sampling_embeddings:
      textEncoder && tokenizer && unconditional?.learnable === true
        ? unconditionalTensors(tokenizer.maxLength, textEncoder.hidden_size)
        : undefined,
  };
  const needed = COMPONENTS.filter(
    (component) =>
      component !== "learned_classifier_free_sampling_embeddings" || unconditional?.learnable === true,
  );
  const components = needed.map((component): ComponentInspection => {
    const source = attempt(() => openComponent(dir, component, variant));
    if (source === undefined) {
      return { component, file: null, bytes: 0, dtypes: [], tensors: [], parameters: 0, unused: [] };
    }
    try {
      const wanted = expected[component];
      if (wanted !== undefined) problems.push(...mismatches(source, wanted));
      return describe(dir, component, source, wanted ?? []);
    } finally {
      source.close();
    }
  });

  const latentSize = transformer?.sample_size ?? null;
  return {
    dir,
    components,
    imageSize:
      transformer && vqvae ? transformer.sample_size * 2 ** (vqvae.block_out_channels.length - 1) : null,
    latentSize,
    codes: vqvae?.num_vq_embeddings ?? null,
    timesteps: scheduler?.num_train_timesteps ?? null,
    layers: transformer?.num_layers ?? null,
    textLength: textEncoder && tokenizer ? tokenizer.maxLength : null,
    learnableUnconditional: unconditional?.learnable ?? null,
    problems,
  };
}

function openComponent(dir: string, component: Component, variant: string | undefined): TensorSource {
  const folder = join(dir, component);
  const file = pickWeights(listFiles(folder), component, variant);
  if (file === undefined) throw new CheckpointError(folder, "the weights are missing, .safetensors or .bin");
  return openWeights(join(folder, file));
}

/** What is missing from the file, has another shape than the config implies, or is of no kind of float. */
function mismatches(source: TensorSource, expected: readonly ExpectedTensor[]): string[] {
  return expected.flatMap(({ names, shape }) => {
    const name = names.find((candidate) => source.entries.has(candidate)) ?? names[0];
    const entry = source.entries.get(name);
    if (entry === undefined) return [`${source.path}: tensor ${names.join(" or ")} is missing`];
    if (entry.shape.join() !== shape.join()) {
      return [
        `${source.path}: tensor ${name} has shape [${entry.shape.join(", ")}], the config implies [${shape.join(", ")}]`,
      ];
    }
    return isWeight(entry)
      ? []
      : [`${source.path}: tensor ${name}: weights of dtype ${entry.dtype} are not supported`];
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
