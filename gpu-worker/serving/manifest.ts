// The manifest by which a loaded model is announced.

import { basename } from "node:path";
import { MAX_PALETTE_CODES } from "@vqd/shared/limits.ts";
import type { ModelCard, ModelManifest } from "@vqd/shared/model.ts";
import type { PipelineInfo } from "../pipeline/pipeline.ts";

const DEFAULT_OWNER = "vqd";
/** A model name has at most 100 characters. */
const MAX_NAME = 100 - `${DEFAULT_OWNER}/`.length;

/** `vqd/<folder>`, with characters that a model name cannot contain or begin with removed or replaced by single dashes. */
export function defaultModelName(modelDir: string): string {
  const name = basename(modelDir)
    .toLowerCase()
    .replaceAll(/[^a-z0-9_]+/g, "-")
    .replaceAll(/^[-_]+/g, "")
    .slice(0, MAX_NAME)
    .replaceAll(/[-_]+$/g, "");
  return `${DEFAULT_OWNER}/${name === "" ? "model" : name}`;
}

/**
 * `palette` holds R, G, B of each code; see palette.ts. `modelName` is `owner/name`, by default derived from the name
 * of the checkpoint's folder.
 */
export function modelManifest(
  info: PipelineInfo,
  palette: Uint8Array,
  modelName = defaultModelName(info.name),
  { card, words }: { readonly card?: ModelCard | undefined; readonly words?: string | undefined } = {},
): ModelManifest {
  return {
    v: 1,
    name: modelName,
    version: info.version,
    numTrainTimesteps: info.numTrainTimesteps,
    numVectorEmbeds: info.numEmbeddings + 1,
    defaults: { guidanceScale: info.defaultGuidanceScale },
    ...(card === undefined ? {} : { card }),
    ...(words === undefined ? {} : { words }),
    latentHeight: info.latentHeight,
    latentWidth: info.latentWidth,
    imageHeight: info.imageHeight,
    imageWidth: info.imageWidth,
    // Left out for edges of releases that do not know it.
    ...(info.conditioning === "text" ? {} : { conditioning: info.conditioning }),
    tokenizer: {
      mergesSha256: info.vocabularySha256,
      maxLength: info.textLength,
      padTokenId: info.padTokenId,
    },
    ...(info.numEmbeddings > MAX_PALETTE_CODES ? {} : { palette: Buffer.from(palette).toString("base64") }),
    parameters: info.parameters,
    announcedAt: Date.now(),
  };
}
