// The small random models of the original code base (test/fixtures/originals), converted.

import { join } from "node:path";
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
export const MODELS = {
  "text-patch": model("ithq", "configs/ithq.yaml", "ithq_learnable.pth"),
  "text-gumbel": model("coco", `${PRETRAINED}/config_text.yaml`, "coco_pretrained.pth"),
  class: model("imagenet", `${PRETRAINED}/config_imagenet.yaml`, "imagenet_pretrained.pth"),
  "class-learned": model("imagenet", "configs/imagenet_cf.yaml", "imagenet_learnable.pth"),
  none: model("ffhq", "configs/ffhq.yaml", "ffhq_pretrained.pth"),
} as const;
export type ModelName = keyof typeof MODELS;
export const MODEL_NAMES = Object.keys(MODELS) as ModelName[];

/** Converts a model to a new folder that is removed after the test file. */
export async function converted(name: ModelName, given: Partial<OriginalFiles> = {}): Promise<string> {
  const dir = join(await temporaryFolder(), name);
  await convertOriginal({ ...MODELS[name], ...given }, dir, { dtype: "F32" });
  return dir;
}
