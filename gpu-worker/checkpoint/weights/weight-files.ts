// Which files hold a component's weights, of all the names that diffusers and transformers give them.

import { existsSync, readdirSync } from "node:fs";
import type { Component } from "./components.ts";
import { SafetensorsFile } from "./safetensors.ts";
import { INDEX_ENDING, ShardedFile } from "./shards.ts";
import type { TensorSource } from "./tensor.ts";
import { TorchFile } from "../torch/torch-file.ts";

/** Safetensors first: they are read without a pickle. */
const FORMATS = ["safetensors", "bin"] as const;

const DIFFUSERS = { safetensors: "diffusion_pytorch_model", bin: "diffusion_pytorch_model" } as const;

/** What a component's files are called before the ending. */
const STEMS: Readonly<Record<Component, Readonly<Record<(typeof FORMATS)[number], string>>>> = {
  text_encoder: { safetensors: "model", bin: "pytorch_model" },
  transformer: DIFFUSERS,
  vqvae: DIFFUSERS,
  learned_classifier_free_sampling_embeddings: DIFFUSERS,
};

/** What a component's weights are called when there is one file of them, for those who write it. */
export const safetensorsName = (component: Component): string =>
  `${STEMS[component].safetensors}.safetensors`;

/**
 * The file among `names` that a component's weights are read from, or undefined: that of `variant` ("fp16") if it
 * is there, else the plain one, else any other variant's.
 */
export function pickWeights(
  names: readonly string[],
  component: Component,
  variant?: string,
): string | undefined {
  const others = names.flatMap((name) => variantOf(name, component) ?? []).toSorted();
  const infixes = [...(variant === undefined ? [] : [`.${variant}`]), "", ...others];
  return infixes.flatMap((infix) => candidates(component, infix)).find((name) => names.includes(name));
}

function candidates(component: Component, infix: string): string[] {
  return FORMATS.flatMap((format) => {
    const stem = STEMS[component][format];
    return [`${stem}${infix}.${format}`, `${stem}.${format}.index${infix}.json`];
  });
}

/** ".fp16" for diffusion_pytorch_model.fp16.bin; undefined for what is no variant's file. */
function variantOf(name: string, component: Component): string | undefined {
  for (const format of FORMATS) {
    const [stem, infix = "", ending, ...rest] = name.split(".");
    const isVariant = stem === STEMS[component][format] && ending === format && rest.length === 0;
    if (isVariant && /^[A-Za-z0-9_-]+$/.test(infix)) return `.${infix}`;
  }
  return undefined;
}

/** Names in a folder; none if it is not there. */
export const listFiles = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

/** Opens a weight file of any format, by its ending; the caller closes it. */
export function openWeights(path: string): TensorSource {
  if (INDEX_ENDING.test(path)) return ShardedFile.open(path, openWeights);
  return path.endsWith(".safetensors") ? SafetensorsFile.open(path) : TorchFile.open(path);
}
