// Converts a model of the original code base (microsoft/VQ-Diffusion) to a checkpoint folder in diffusers' layout.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { CheckpointError } from "../errors.ts";
import { inspectCheckpoint } from "../inspect.ts";
import { PIPELINE_CLASSES } from "../config.ts";
import { GENERATION_CONFIG, MODEL_INDEX, SCHEDULER_CONFIG } from "../model-files.ts";
import type { Component } from "../weights/components.ts";
import { parametersOf, writeCheckpoint, type WriteOptions } from "../write-checkpoint.ts";
import { type OriginalConfig, readOriginalConfig } from "./config.ts";
import { besideConfig, OpenFiles, readCodeMap, type Tensors } from "./files.ts";
import { PlannedSource, type PlannedWeight } from "./plan.ts";
import { findClip, learnedEmbeddings, textEncoder } from "./text-encoder.ts";
import { tokenizerTexts } from "./tokenizer.ts";
import { classesOf, transformerConfig, transformerWeights } from "./transformer.ts";
import { vqModel } from "./vq-model.ts";

const LEARNED = "learned_classifier_free_sampling_embeddings" satisfies Component;

/** A model with as many classes is taken for one of ImageNet's, as the original's are. */
const IMAGENET_CLASSES = 1_000;

export interface OriginalFiles {
  /** The YAML file that the model was trained with. */
  readonly config: string;
  /** The training checkpoint. */
  readonly model: string;
  /** The VQ model's own file [the checkpoint's VQ model; if it has none, the file that the config names]. */
  readonly vqgan?: string | undefined;
  /** CLIP, from OpenAI [the checkpoint's]. */
  readonly clip?: string | undefined;
  /** The map from the VQ model's codebook to the model's tokens [the file that the config names]. */
  readonly codeMap?: string | undefined;
}

export interface ConvertedModel {
  /** Whether the averaged weights (`ema`) were taken, which the original prefers; not every checkpoint has them. */
  readonly isAveraged: boolean;
}

/** What a component is made of. */
interface Part {
  readonly component: Component;
  /** Its `config.json`. */
  readonly json: { readonly _class_name: string } & Readonly<Record<string, unknown>>;
  readonly weights: readonly PlannedWeight[];
  /** Of a model that is conditioned by class: how many, and whether it has learned "no class". */
  readonly classes?: number;
  readonly isNullLearned?: boolean;
}

/**
 * Writes the folder `to`, which appears when it is complete, tensor by tensor. Throws a CheckpointError that names the file
 * and what is missing from it, does not fit the config, or is of a kind that is not supported; and if `to` is taken.
 */
export async function convertOriginal(
  files: OriginalFiles,
  to: string,
  options: WriteOptions,
): Promise<ConvertedModel> {
  const configPath = resolve(files.config);
  const config = readOriginalConfig(configPath);
  const open = new OpenFiles();
  try {
    const { diffusion, vq, isAveraged } = open.model(resolve(files.model));
    const codec = findVQModel(files, configPath, config, vq, open);
    const codeMap = findCodeMap(files, configPath, config);
    const parts = [
      ...denoiserParts(
        config,
        diffusion,
        files.clip === undefined ? undefined : open.clip(resolve(files.clip)),
      ),
      { component: "vqvae" as const, ...vqModel(codec, config, codeMap) },
    ];
    const source = {
      components: parts.map(({ component, weights }) => {
        const planned = new PlannedSource(diffusion.path, weights);
        return { component, open: () => planned, parameters: parametersOf(planned) };
      }),
      writeTexts: (folder: string) => writeTexts(folder, config, parts),
      check,
    };
    await writeCheckpoint(source, resolve(to), options);
    return { isAveraged };
  } finally {
    open.close();
  }
}

/** The transformer and, of a text model, what it gets its prompts from. */
function denoiserParts(config: OriginalConfig, diffusion: Tensors, clip: Tensors | undefined): Part[] {
  const encoder = config.text === undefined ? undefined : textEncoder(findClip(diffusion, clip), config);
  const transformer = {
    component: "transformer" as const,
    json: transformerConfig(config, diffusion, encoder?.width),
    weights: transformerWeights(config, diffusion, encoder?.width),
    ...(config.family === "class" ? describeClasses(diffusion) : {}),
  };
  if (encoder === undefined || config.text === undefined) return [transformer];
  const { length, learnable } = config.text;
  const { width, json, weights } = encoder;
  const shape = learnable ? { length, hidden_size: width } : { length: null, hidden_size: null };
  return [
    { component: "text_encoder", json, weights },
    transformer,
    {
      component: LEARNED,
      json: { _class_name: "LearnedClassifierFreeSamplingEmbeddings", learnable, ...shape },
      weights: learnable ? learnedEmbeddings(diffusion, length, width) : [],
    },
  ];
}

function describeClasses(diffusion: Tensors): { classes: number; isNullLearned: boolean } {
  const { num_classes: classes, null_class } = classesOf(diffusion);
  return { classes, isNullLearned: null_class === "learned" };
}

/** Names by label, as the original's data set of ImageNet has them. */
function imagenetNames(): Record<string, string> {
  const names = readFileSync(join(import.meta.dirname, "imagenet-classes.txt"), "utf8")
    .trimEnd()
    .split("\n");
  return Object.fromEntries(names.map((name, label) => [String(label), name]));
}

function findVQModel(
  { vqgan }: OriginalFiles,
  configPath: string,
  config: OriginalConfig,
  own: Tensors | undefined,
  open: OpenFiles,
): Tensors {
  if (vqgan !== undefined) return open.vqModel(resolve(vqgan));
  if (own !== undefined) return own;
  const path = besideConfig(configPath, config.vqgan);
  if (path !== undefined) return open.vqModel(path);
  throw new CheckpointError(
    configPath,
    "neither the checkpoint nor a file that the config names has the VQ model",
    {
      remedy: "give the VQ model's own file with --vqgan",
    },
  );
}

function findCodeMap(
  { codeMap }: OriginalFiles,
  configPath: string,
  config: OriginalConfig,
): readonly number[] | undefined {
  if (config.codeMap === undefined) {
    if (codeMap === undefined) return undefined;
    throw new CheckpointError(
      configPath,
      "the model uses all codes of its VQ model, so it takes no map of codes",
    );
  }
  const path = codeMap === undefined ? besideConfig(configPath, config.codeMap) : resolve(codeMap);
  if (path !== undefined) return readCodeMap(path, config.codes);
  throw new CheckpointError(configPath, `names ${config.codeMap}, which is not in a folder above it`, {
    remedy: "give that file with --code-map",
  });
}

/** Guidance of the original's examples for models that learned to do without a condition; for others, none. */
function defaultGuidanceScale({ text }: OriginalConfig, parts: readonly Part[]): number {
  if (text !== undefined) return text.learnable ? 5 : 1;
  return parts.some(({ isNullLearned }) => isNullLearned) ? 1.5 : 1;
}

function writeTexts(folder: string, config: OriginalConfig, parts: readonly Part[]): void {
  const json = (name: string, value: object): void => text(name, `${JSON.stringify(value, null, 2)}\n`);
  const text = (name: string, content: string): void => {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  };
  const components = Object.fromEntries(
    parts.map(({ component, json: { _class_name } }) => [
      component,
      component === "text_encoder" ? ["transformers", "CLIPTextModel"] : ["diffusers", _class_name],
    ]),
  );
  json(MODEL_INDEX, {
    _class_name: PIPELINE_CLASSES[config.family],
    ...components,
    scheduler: ["diffusers", "VQDiffusionScheduler"],
    ...(config.text === undefined ? {} : { tokenizer: ["transformers", "CLIPTokenizer"] }),
    ...(parts.some(({ classes }) => classes === IMAGENET_CLASSES) ? { id2label: imagenetNames() } : {}),
  });
  json(SCHEDULER_CONFIG, {
    _class_name: "VQDiffusionScheduler",
    num_vec_classes: config.codes + 1,
    num_train_timesteps: config.timesteps,
    alpha_cum_start: 0.99999,
    alpha_cum_end: 0.000009,
    gamma_cum_start: 0.000009,
    gamma_cum_end: 0.99999,
  });
  json(GENERATION_CONFIG, { guidance_scale: defaultGuidanceScale(config, parts) });
  for (const part of parts) json(`${part.component}/config.json`, part.json);
  if (config.text === undefined) return;
  const { endIndex, length } = config.text;
  for (const [name, content] of Object.entries(tokenizerTexts({ endIndex, length }))) text(name, content);
}

/** What was written must be what is served: anything else is a mistake of this conversion, or of the files. */
function check(folder: string): void {
  const [problem] = inspectCheckpoint(folder).problems;
  if (problem !== undefined)
    throw new CheckpointError(folder, `the converted model is not complete: ${problem}`);
}
