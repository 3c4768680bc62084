// The configs of a checkpoint's components, as diffusers and transformers write them, old keys and new.

import { MAX_GUIDANCE_SCALE, MIN_GUIDANCE_SCALE } from "@vqd/shared/limits.ts";
import { z } from "zod";

const count = z.int().min(1);

export const schedulerConfigSchema = z.object({
  num_vec_classes: z.int().min(2),
  num_train_timesteps: count.default(100),
  alpha_cum_start: z.number().default(0.99999),
  alpha_cum_end: z.number().default(0.000009),
  gamma_cum_start: z.number().default(0.000009),
  gamma_cum_end: z.number().default(0.99999),
});
export type SchedulerConfig = z.infer<typeof schedulerConfigSchema>;

export const textEncoderConfigSchema = z.object({
  vocab_size: count,
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: count,
  num_attention_heads: count,
  max_position_embeddings: count,
  hidden_act: z.enum(["quick_gelu", "gelu"]).default("quick_gelu"),
  layer_norm_eps: z.number().default(1e-5),
});
export type TextEncoderConfig = z.infer<typeof textEncoderConfigSchema>;

export const transformerConfigSchema = z.object({
  num_attention_heads: count,
  attention_head_dim: count,
  num_layers: count,
  cross_attention_dim: count,
  attention_bias: z.boolean().default(false),
  sample_size: count,
  /** Classes of a latent pixel, the mask included. */
  num_vector_embeds: z.int().min(2),
  activation_fn: z.literal("geglu-approximate"),
  num_embeds_ada_norm: count,
  // "layer_norm" together with num_embeds_ada_norm is how old files say "ada_norm".
  norm_type: z.enum(["ada_norm", "layer_norm"]).default("layer_norm"),
});
export type TransformerConfig = z.infer<typeof transformerConfigSchema>;

export const vqModelConfigSchema = z
  .object({
    in_channels: z.literal(3).default(3),
    out_channels: z.literal(3).default(3),
    down_block_types: z.array(z.enum(["DownEncoderBlock2D", "AttnDownEncoderBlock2D"])).min(1),
    up_block_types: z.array(z.enum(["UpDecoderBlock2D", "AttnUpDecoderBlock2D"])).min(1),
    block_out_channels: z.array(count).min(1),
    layers_per_block: count.default(1),
    act_fn: z.literal("silu").default("silu"),
    latent_channels: count,
    num_vq_embeddings: count,
    norm_num_groups: count.default(32),
    // "spatial" is another decoder, which takes the code vectors in each of its norms.
    norm_type: z.literal("group").default("group"),
    vq_embed_dim: count.nullish(),
  })
  .transform(({ vq_embed_dim: width, ...config }) => ({
    ...config,
    vq_embed_dim: width ?? config.latent_channels,
  }));
export type VQModelConfig = z.infer<typeof vqModelConfigSchema>;

export const classifierFreeConfigSchema = z.object({
  learnable: z.boolean(),
  hidden_size: count.nullish(),
  length: count.nullish(),
});

/**
 * `generation_config.json`, as transformers calls the file that holds a model's own defaults of sampling; optional.
 * Keys besides these are left alone.
 */
export const generationConfigSchema = z.object({
  /** What a call takes that says nothing; 5 is diffusers' default. */
  guidance_scale: z.number().min(MIN_GUIDANCE_SCALE).max(MAX_GUIDANCE_SCALE).default(5),
});

export const modelIndexSchema = z.object({ _class_name: z.literal("VQDiffusionPipeline") });

/** A special token is a string or, in older files, an object that holds it. */
const specialToken = z
  .union([z.string(), z.object({ content: z.string() })])
  .transform((token) => (typeof token === "string" ? token : token.content));

export const tokenizerConfigSchema = z.object({
  model_max_length: z.number().optional(),
  pad_token: specialToken.nullish(),
});
export const specialTokensSchema = z.object({ pad_token: specialToken.nullish() });
