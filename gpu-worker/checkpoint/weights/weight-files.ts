// Which files hold a component's weights, of all the names that diffusers and transformers give them.

import { join } from "node:path";
import { CheckpointError } from "../errors.ts";
import type { CheckpointFolder } from "../files/folder.ts";
import { unreadable } from "../files/mistaken.ts";
import type { Component } from "./components.ts";
import { SafetensorsFile } from "./safetensors.ts";
import { INDEX_ENDING, ShardedFile, shardNames } from "./shards.ts";
import type { TensorSource } from "./tensor.ts";
import { TorchFile } from "../torch/torch-file.ts";

/** Safetensors first: they are read without a pickle. */
const FORMATS = ["safetensors", "bin"] as const;
type Format = (typeof FORMATS)[number];

const DIFFUSERS = { safetensors: "diffusion_pytorch_model", bin: "diffusion_pytorch_model" } as const;

/** What a component's files are called before the ending. */
const STEMS: Readonly<Record<Component, Readonly<Record<Format, string>>>> = {
  text_encoder: { safetensors: "model", bin: "pytorch_model" },
  transformer: DIFFUSERS,
  vqvae: DIFFUSERS,
  learned_classifier_free_sampling_embeddings: DIFFUSERS,
};

/** What a component's weights are called when there is one file of them, for those who write it. */
export const safetensorsName = (component: Component): string =>
  `${STEMS[component].safetensors}.safetensors`;

/** model-00001-of-00002.safetensors, model.fp16-00001-of-00002.safetensors, model-00001-of-00002.fp16.safetensors */
const SHARD_NAME =
  /^(?<stem>\w+)(?:\.(?<variant>[\w-]+?))?-\d+-of-\d+(?:\.(?<middle>[\w-]+))?\.(?<format>safetensors|bin)$/;
/** Stem, optional variant, extension. An index can have the variant in any of three places. */
const WEIGHT_NAME =
  /^(?<stem>\w+)(?:\.(?<variant>[\w-]+))?\.(?<format>safetensors|bin)(?<index>(?:\.(?<middle>[\w-]+))?\.index(?:\.(?<last>[\w-]+))?\.json)?$/;

interface WeightFile {
  readonly name: string;
  readonly format: Format;
  /** "fp16"; empty if there is none. */
  readonly variant: string;
  readonly isIndex: boolean;
}

/** Undefined if the file is not a weight file of the component, or is a shard. */
function weightFile(name: string, component: Component): WeightFile | undefined {
  const { stem, variant, format, index, middle, last } = WEIGHT_NAME.exec(name)?.groups ?? {};
  if ((format !== "safetensors" && format !== "bin") || stem !== STEMS[component][format]) return undefined;
  if (SHARD_NAME.test(name)) return undefined;
  return { name, format, variant: variant ?? middle ?? last ?? "", isIndex: index !== undefined };
}

/**
 * The file among `names` that a component's weights are read from, or undefined: that of `variant` ("fp16") if it
 * is there, else the plain one, else any other variant's. Of several files it is the index.
 */
export function pickWeights(
  names: readonly string[],
  component: Component,
  variant = "",
): string | undefined {
  const files = names.flatMap((name) => weightFile(name, component) ?? []);
  const variants = [variant, "", ...files.map((file) => file.variant).toSorted()];
  const rank = (file: WeightFile): number =>
    4 * variants.indexOf(file.variant) + 2 * FORMATS.indexOf(file.format) + Number(file.isIndex);
  return files.toSorted((a, b) => rank(a) - rank(b))[0]?.name;
}

/** Like `pickWeights`, for the files in `folder`. Throws a CheckpointError if there are none. */
export function findWeights(folder: CheckpointFolder, component: Component, variant?: string): string {
  const names = folder.names(component);
  const file = pickWeights(names, component, variant);
  if (file !== undefined) return `${component}/${file}`;
  const shard = names.map((name) => SHARD_NAME.exec(name)).find((match) => match !== null);
  if (shard) {
    const { stem, variant: first, middle, format } = shard.groups ?? {};
    const ending = [first ?? middle, "json"].filter((part) => part !== undefined).join(".");
    throw new CheckpointError(
      join(folder.dir, component),
      `has a shard of the weights, ${shard[0]}, but no index`,
      { remedy: `also fetch ${stem}.${format}.index.${ending}` },
    );
  }
  throw new CheckpointError(
    join(folder.dir, component, safetensorsName(component)),
    "the weights are missing: there is neither a .safetensors nor a .bin weight file",
    { remedy: "fetch either; files with other names are ignored" },
  );
}

/** `file` and, if it is an index, its shards. */
export const weightFiles = (folder: CheckpointFolder, file: string): string[] =>
  INDEX_ENDING.test(file)
    ? [file, ...shardNames(folder.path(file)).map((name) => join(file, "..", name))]
    : [file];

/** Opens a weight file of any format, chosen by its extension; the caller closes it. Throws a CheckpointError. */
export function openWeights(folder: CheckpointFolder, file: string): TensorSource {
  const path = folder.path(file);
  if (INDEX_ENDING.test(file)) {
    return ShardedFile.open(path, (name) => openWeights(folder, join(file, "..", name)));
  }
  try {
    return file.endsWith(".safetensors") ? SafetensorsFile.open(path) : TorchFile.open(path);
  } catch (error) {
    if (!(error instanceof CheckpointError) || error.remedy !== undefined) throw error;
    throw unreadable(error.path, error.reason, { cause: error });
  }
}
