// Describes a loaded model: its sizes, its tokenizer's, and the ids of its weights and numerics.

import { createHash } from "node:crypto";
import { classesText } from "@vqd/shared/tokenizer/announcement.ts";
import type { Conditioning } from "../checkpoint/config.ts";
import type { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import type { PromptParts } from "../checkpoint/parts.ts";
import { GRAPH_FORMAT } from "../graph/cache.ts";
import { headsAtOnce } from "../graph/layers.ts";
import { formName, type GraphForm, type Quantization } from "../graph/form.ts";
import { deviceNumerics } from "../runtime/device.ts";
import { type Provider, RUNTIME_VERSION } from "../runtime/session.ts";

/** Describes a checkpoint to code that creates inputs for it. */
export interface PipelineInfo {
  /** Name of the checkpoint's folder. */
  readonly name: string;
  /** SHA-256 of the checkpoint, hex. */
  readonly version: string;
  /** Identifies everything that determines the bits of a result. */
  readonly numericsId: string;
  readonly quantization: Quantization;
  readonly numTrainTimesteps: number;
  /** For calls that give none: from the checkpoint's generation_config.json, or 5, as in diffusers. */
  readonly defaultGuidanceScale: number;
  /** Number of codes of the VQ model; the mask is the class after them. */
  readonly numEmbeddings: number;
  readonly latentHeight: number;
  readonly latentWidth: number;
  readonly imageHeight: number;
  readonly imageWidth: number;
  /** What conditions the model. */
  readonly conditioning: Conditioning;
  /** Ids of a prompt: 1 for a model that is not conditioned by text. */
  readonly textLength: number;
  readonly padTokenId: number;
  readonly vocabularySha256: string;
  readonly parameters: number;
  /** Rough upper estimate of the memory that one row of a pass takes in addition to the weights, in bytes. */
  readonly passBytesPerRow: number;
}

const FLOAT_BYTES = 4;
/** Simultaneous activations of a pixel, in multiples of the width: four of the feed-forward, queries, keys, values, ... */
const LIVE_WIDTHS = 12;

/** The output of a graph that draws, and what it makes of it one after the other, in multiples of the output. */
const LIVE_OUTPUTS = 6;

function passBytesPerRow({ transformer }: DiffusersCheckpoint, form: GraphForm): number {
  const { sample_size, num_attention_heads: heads, attention_head_dim, num_vector_embeds } = transformer;
  const { feed_forward_width: inner, feed_forward_kernel: kernel } = transformer;
  const pixels = sample_size ** 2;
  const width = heads * attention_head_dim;
  // What the feed-forward sees of a pixel's neighbours.
  const neighbours = kernel === 1 ? 0 : kernel ** 2 * inner;
  // The output, the activations of a layer, and its attention weights.
  const outputs = (form.drawsOnDevice ? LIVE_OUTPUTS : 1) * num_vector_embeds;
  const scores = headsAtOnce(pixels, { heads, ...form }) * pixels;
  return pixels * (outputs + LIVE_WIDTHS * width + neighbours + scores) * FLOAT_BYTES;
}

function describePrompts(
  prompts: PromptParts,
): Pick<PipelineInfo, "textLength" | "padTokenId" | "vocabularySha256"> {
  if (prompts.kind === "text") {
    const { maxLength: textLength, padTokenId, vocabularySha256 } = prompts.tokenizer;
    return { textLength, padTokenId, vocabularySha256 };
  }
  const content = prompts.kind === "class" ? classesText(prompts.labels) : "";
  const vocabularySha256 = createHash("sha256").update(content).digest("hex");
  return { textLength: 1, padTokenId: 0, vocabularySha256 };
}

/** `version` is the checkpoint's hash, which the caller already has. */
export function describeModel(
  checkpoint: DiffusersCheckpoint,
  version: string,
  { provider, form }: { provider: Provider; form: GraphForm },
): PipelineInfo {
  const { transformer, vqvae, scheduler, prompts } = checkpoint;
  const side = transformer.sample_size;
  const upscale = 2 ** (vqvae.block_out_channels.length - 1);
  const { quantization, drawsOnDevice } = form;
  // A graph that draws rounds to fp32 where the CPU's sampler does to fp64.
  const parts = drawsOnDevice ? [formName(form), ...deviceNumerics(provider)] : [quantization];
  const numerics = [version, provider, ...parts, RUNTIME_VERSION, GRAPH_FORMAT].join("/");
  return {
    name: checkpoint.name,
    version,
    numericsId: createHash("sha256").update(numerics).digest("hex").slice(0, 16),
    quantization,
    numTrainTimesteps: scheduler.num_train_timesteps,
    defaultGuidanceScale: checkpoint.defaultGuidanceScale,
    numEmbeddings: vqvae.num_tokens,
    latentHeight: side,
    latentWidth: side,
    imageHeight: side * upscale,
    imageWidth: side * upscale,
    conditioning: prompts.kind,
    ...describePrompts(prompts),
    parameters: checkpoint.parameters(),
    passBytesPerRow: passBytesPerRow(checkpoint, form),
  };
}
