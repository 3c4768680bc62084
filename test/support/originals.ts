// The small random models of the original code base (test/fixtures/originals), converted.

import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { convertOriginal, type OriginalFiles } from "../../gpu-worker/checkpoint/original/convert.ts";
import { temporaryFolder } from "./tiny.ts";

export const ORIGINALS = join(import.meta.dirname, "..", "fixtures", "originals");
const PRETRAINED = "OUTPUT/pretrained_model";

const file = (...path: string[]): string => join(ORIGINALS, "models", ...path);
const model = (family: string, config: string, weights: string): OriginalFiles => ({
  config: file(family, config),
  model: file(family, PRETRAINED, weights),
});

/** By the folder of their recorded vectors. */
const SMALL = {
  "text-patch": model("ithq", "configs/ithq.yaml", "ithq_learnable.pth"),
  "text-gumbel": model("coco", `${PRETRAINED}/config_text.yaml`, "coco_pretrained.pth"),
  class: model("imagenet", `${PRETRAINED}/config_imagenet.yaml`, "imagenet_pretrained.pth"),
  "class-learned": model("imagenet", "configs/imagenet_cf.yaml", "imagenet_learnable.pth"),
  none: model("ffhq", "configs/ffhq.yaml", "ffhq_pretrained.pth"),
} as const;
export const MODELS = {
  ...SMALL,
  /** The weights of text-patch with 1,024 tokens, for which the original has its tables. */
  "text-patch-32x32": model("ithq", "configs/ithq_32x32.yaml", "ithq_learnable.pth"),
} as const;
export type ModelName = keyof typeof MODELS;
/** Those that every stage is recorded of. */
export const MODEL_NAMES = Object.keys(SMALL) as (keyof typeof SMALL)[];

/**
 * The files of a model with a grid of `side` x `side` tokens, as many as it has positions for: the same weights, with which a step
 * takes longer. The config is written to `folder`.
 */
export async function enlarged(name: "class" | "none", side: number, folder: string): Promise<OriginalFiles> {
  const { config, model: weights } = MODELS[name];
  const text = await readFile(config, "utf8");
  const [, own = ""] = /content_seq_len: (\d+)/.exec(text) ?? [];
  const before = Math.sqrt(Number(own));
  const grid = (size: number): string => `- ${size}\n$1- ${size}\n`;
  const written = text
    .replace(`content_seq_len: ${own}`, `content_seq_len: ${side * side}`)
    .replaceAll(new RegExp(`- ${before}\n( *)- ${before}\n`, "g"), grid(side));
  const path = join(folder, `${name}.yaml`);
  await writeFile(path, written);
  const pretrained = dirname(weights);
  const vqgan = name === "none" ? "vqgan_ffhq_f16_1024.pth" : "vqgan_imagenet_f16_16384.pth";
  const codeMap = join(pretrained, "..", "..", "help_folder", "statistics", "taming_vqvae_36.pt");
  return {
    config: path,
    model: weights,
    vqgan: join(pretrained, "taming_dvae", vqgan),
    ...(name === "none" ? {} : { codeMap }),
  };
}

/** Converts a model to a new folder that is removed after the test file. */
export async function converted(name: ModelName, given: Partial<OriginalFiles> = {}): Promise<string> {
  const dir = join(await temporaryFolder(), name);
  await convertOriginal({ ...MODELS[name], ...given }, dir, { dtype: "F32" });
  return dir;
}
