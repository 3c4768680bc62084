// A checkpoint of the size of the published one (microsoft/vq-diffusion-ithq), with random weights.

import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  textEncoderConfigSchema,
  transformerConfigSchema,
  vqModelConfigSchema,
} from "../../gpu-worker/checkpoint/config.ts";
import {
  type ExpectedTensor,
  textEncoderTensors,
  transformerTensors,
  unconditionalTensors,
  vqModelTensors,
} from "../../gpu-worker/checkpoint/expected-tensors.ts";
import { writeSafetensors } from "../../gpu-worker/checkpoint/weights/safetensors-writer.ts";
import { elementCount, fromFloat32 } from "../../gpu-worker/checkpoint/weights/tensor.ts";
import type { Component } from "../../gpu-worker/checkpoint/weights/components.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { writeTorchFile } from "../support/torch-files.ts";

export const FORMATS = ["bin", "fp16-bin", "safetensors"] as const;
type Format = (typeof FORMATS)[number];

/** Random values are drawn once and used over and over, from another place for each tensor. */
const POOL = 1 << 20;

const configs = (layers: number) => ({
  "model_index.json": {
    _class_name: "VQDiffusionPipeline",
    learned_classifier_free_sampling_embeddings: ["diffusers", "LearnedClassifierFreeSamplingEmbeddings"],
    scheduler: ["diffusers", "VQDiffusionScheduler"],
    text_encoder: ["transformers", "CLIPTextModel"],
    tokenizer: ["transformers", "CLIPTokenizer"],
    transformer: ["diffusers", "Transformer2DModel"],
    vqvae: ["diffusers", "VQModel"],
  },
  "scheduler/scheduler_config.json": {
    _class_name: "VQDiffusionScheduler",
    num_vec_classes: 4097,
    num_train_timesteps: 100,
    alpha_cum_start: 0.99999,
    alpha_cum_end: 0.000009,
    gamma_cum_start: 0.000009,
    gamma_cum_end: 0.99999,
  },
  "text_encoder/config.json": {
    architectures: ["CLIPTextModel"],
    model_type: "clip_text_model",
    vocab_size: 49_408,
    hidden_size: 512,
    intermediate_size: 2048,
    num_hidden_layers: 12,
    num_attention_heads: 8,
    max_position_embeddings: 77,
    hidden_act: "quick_gelu",
    layer_norm_eps: 1e-5,
  },
  "transformer/config.json": {
    _class_name: "Transformer2DModel",
    num_attention_heads: 16,
    attention_head_dim: 88,
    num_layers: layers,
    cross_attention_dim: 512,
    attention_bias: true,
    sample_size: 32,
    num_vector_embeds: 4097,
    activation_fn: "geglu-approximate",
    num_embeds_ada_norm: 100,
    norm_type: "layer_norm",
  },
  "vqvae/config.json": {
    _class_name: "VQModel",
    in_channels: 3,
    out_channels: 3,
    down_block_types: [...new Array<string>(3).fill("DownEncoderBlock2D"), "AttnDownEncoderBlock2D"],
    up_block_types: ["AttnUpDecoderBlock2D", ...new Array<string>(3).fill("UpDecoderBlock2D")],
    block_out_channels: [64, 128, 256, 512],
    layers_per_block: 2,
    act_fn: "silu",
    latent_channels: 256,
    num_vq_embeddings: 4096,
    norm_num_groups: 32,
    vq_embed_dim: 128,
  },
  "learned_classifier_free_sampling_embeddings/config.json": {
    _class_name: "LearnedClassifierFreeSamplingEmbeddings",
    learnable: true,
    hidden_size: 512,
    length: 77,
  },
  "tokenizer/tokenizer_config.json": { model_max_length: 77, pad_token: "!" },
  "tokenizer/special_tokens_map.json": { pad_token: "!" },
});

/** Writes it to the folder `dir`, with `layers` of the transformer; `onComponent` gets a line of what was written. */
export function writePublishedShape(
  dir: string,
  layers: number,
  format: Format,
  onComponent: (line: string) => void = () => {},
): void {
  const all = configs(layers);
  for (const [file, config] of Object.entries(all)) {
    mkdirSync(join(dir, file, ".."), { recursive: true });
    writeFileSync(join(dir, file), `${JSON.stringify(config, null, 2)}\n`);
  }
  for (const file of ["merges.txt", "vocab.json"]) {
    cpSync(join(BUNDLED_MODEL, "tokenizer", file), join(dir, "tokenizer", file));
  }
  const components: Record<Component, ExpectedTensor[]> = {
    text_encoder: textEncoderTensors(textEncoderConfigSchema.parse(all["text_encoder/config.json"])),
    transformer: transformerTensors(transformerConfigSchema.parse(all["transformer/config.json"])),
    vqvae: vqModelTensors(vqModelConfigSchema.parse(all["vqvae/config.json"])),
    learned_classifier_free_sampling_embeddings: unconditionalTensors(77, 512),
  };
  for (const [component, tensors] of Object.entries(components)) {
    const planned = tensors.map(({ names: [name], shape }) => ({ name, shape }));
    const shapes = new Map(planned.map(({ name, shape }) => [name, shape]));
    const values = (name: string) => randomValues(name, shapes.get(name) ?? []);
    const isText = component === "text_encoder";
    const startedAt = performance.now();
    if (format === "safetensors") {
      const file = isText ? "model.safetensors" : "diffusion_pytorch_model.safetensors";
      const floats = planned.map(({ name, shape }) => ({ name, shape, dtype: "F32" as const }));
      writeSafetensors(join(dir, component, file), floats, ({ name }) => fromFloat32(values(name), "F32"));
    } else {
      const infix = format === "bin" ? "" : ".fp16";
      const file = `${isText ? "pytorch_model" : "diffusion_pytorch_model"}${infix}.bin`;
      const dtype = format === "bin" ? "F32" : "F16";
      writeTorchFile(join(dir, component, file), planned, dtype, (name) => fromFloat32(values(name), dtype));
    }
    const parameters = planned.reduce((sum, { shape }) => sum + elementCount(shape), 0);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    onComponent(`${component}: ${parameters.toLocaleString("en")} parameters, ${seconds} s`);
  }
}

/** Uniform in -1 .. 1 and the same in every run: Park and Miller's generator. */
const pool = new Float32Array(POOL);
let state = 1;
for (let i = 0; i < POOL; i++) {
  state = (state * 48_271) % 2_147_483_647;
  pool[i] = (2 * state) / 2_147_483_647 - 1;
}

/** As large as keeps activations of a fresh network near 1: norms pass on, matrices divide by their width. */
function randomValues(name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
  const result = new Float32Array(elementCount(shape));
  if (shape.length === 1) return result.fill(name.endsWith(".bias") ? 0 : 1);
  const scale = Math.sqrt(3 / elementCount(shape.slice(1)));
  let at = Array.from(name).reduce((sum, letter) => (sum * 31 + (letter.codePointAt(0) ?? 0)) % POOL, 7);
  for (let i = 0; i < result.length; i++) {
    result[i] = (pool[at] ?? 0) * scale;
    at = (at + 1) & (POOL - 1);
  }
  return result;
}
