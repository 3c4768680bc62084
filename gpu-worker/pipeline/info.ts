// What a loaded model is: its sizes, its tokenizer's, and the ids of its weights and of its numerics.

import { createHash } from "node:crypto";
import type { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { GRAPH_FORMAT } from "../graph/cache.ts";
import type { Quantization } from "../graph/form.ts";
import { type Provider, RUNTIME_VERSION } from "../runtime/session.ts";

/** What a checkpoint is, for those who make inputs for it. */
export interface PipelineInfo {
  /** Name of the checkpoint's folder. */
  readonly name: string;
  /** SHA-256 of the checkpoint, hex. */
  readonly version: string;
  /** Names everything that decides the bits of a result. */
  readonly numericsId: string;
  readonly quantization: Quantization;
  readonly numTrainTimesteps: number;
  /** Of a call that says nothing, from the checkpoint's generation_config.json; 5 without one, as in diffusers. */
  readonly defaultGuidanceScale: number;
  /** Codes of the VQ model; the mask is the class after them. */
  readonly numEmbeddings: number;
  readonly latentHeight: number;
  readonly latentWidth: number;
  readonly imageHeight: number;
  readonly imageWidth: number;
  readonly textLength: number;
  readonly padTokenId: number;
  readonly mergesSha256: string;
  readonly parameters: number;
  /** Memory that one row of a pass takes beside the weights, roughly and rather too high, in bytes. */
  readonly passBytesPerRow: number;
}

const FLOAT_BYTES = 4;
/** Activations of a pixel that are alive at once, in widths: the feed-forward's four, queries, keys, values, ... */
const LIVE_WIDTHS = 12;

function passBytesPerRow({ transformer }: DiffusersCheckpoint): number {
  const { sample_size, num_attention_heads: heads, attention_head_dim, num_vector_embeds } = transformer;
  const pixels = sample_size ** 2;
  const width = heads * attention_head_dim;
  // The output, what flows through a layer, and its attention weights.
  return pixels * (num_vector_embeds + LIVE_WIDTHS * width + heads * pixels) * FLOAT_BYTES;
}

/** `version` is the checkpoint's hash, which the caller has at hand. */
export function describeModel(
  checkpoint: DiffusersCheckpoint,
  version: string,
  { provider, quantization }: { provider: Provider; quantization: Quantization },
): PipelineInfo {
  const { transformer, vqvae, scheduler, tokenizer } = checkpoint;
  const side = transformer.sample_size;
  const upscale = 2 ** (vqvae.block_out_channels.length - 1);
  const numerics = [version, provider, quantization, RUNTIME_VERSION, GRAPH_FORMAT].join("/");
  return {
    name: checkpoint.name,
    version,
    numericsId: createHash("sha256").update(numerics).digest("hex").slice(0, 16),
    quantization,
    numTrainTimesteps: scheduler.num_train_timesteps,
    defaultGuidanceScale: checkpoint.defaultGuidanceScale,
    numEmbeddings: vqvae.num_vq_embeddings,
    latentHeight: side,
    latentWidth: side,
    imageHeight: side * upscale,
    imageWidth: side * upscale,
    textLength: tokenizer.maxLength,
    padTokenId: tokenizer.padTokenId,
    mergesSha256: tokenizer.mergesSha256,
    parameters: checkpoint.parameters(),
    passBytesPerRow: passBytesPerRow(checkpoint),
  };
}
