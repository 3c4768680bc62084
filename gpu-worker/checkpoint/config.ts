// The configs of a checkpoint's components, as diffusers and transformers write them, old keys and new.

import {
  MAX_GUIDANCE_SCALE,
  MAX_LATENT_PIXELS,
  MAX_TIMESTEPS,
  MAX_VECTOR_EMBEDS,
  MIN_GUIDANCE_SCALE,
} from "@vqd/shared/limits.ts";
import { z } from "zod";
import { MIN_TEXT_LENGTH } from "./tokenizer/token-schemas.ts";

const count = (max: number) => z.int().min(1).max(max);
/** Far above real models, and low enough that nothing built from a config gets out of hand. */
const MAX_WIDTH = 32_768;
const MAX_LAYERS = 256;
const MAX_HEADS = 1_024;
const MAX_TEXT_POSITIONS = 4_096;
const MAX_SYMBOLS = 1_000_000;
/** Each level but the first doubles the image size: 64 latent pixels and six levels give 2,048. */
const MAX_LEVELS = 6;
/** Codes and the mask: one of each at least, and ids that are uint16. */
const classes = z.int().min(2).max(MAX_VECTOR_EMBEDS);

/** Refuses a `field` that does not go with the other fields, for the reason that `reasonOf` gives. */
const refusing =
  <Config extends object>(field: keyof Config & string, reasonOf: (config: Config) => string | undefined) =>
  ({ value, issues }: z.core.ParsePayload<Config>): void => {
    const message = reasonOf(value);
    if (message !== undefined) issues.push({ code: "custom", path: [field], input: value[field], message });
  };

/** Of the comparison of two products. */
const ROUNDING = 1 + 1e-6;

/**
 * alpha is the probability that a pixel has kept its class, gamma that it is masked, at the first timestep and at
 * the last; else it is replaced. There is no way back: masked pixels stay masked, and among the others those that
 * have kept their class do not become more.
 */
export const schedulerConfigSchema = z
  .object({
    num_vec_classes: classes,
    num_train_timesteps: count(MAX_TIMESTEPS).default(100),
    alpha_cum_start: z.number().gt(0).max(1).default(0.99999),
    alpha_cum_end: z.number().min(0).max(1).default(0.000009),
    gamma_cum_start: z.number().min(0).max(1).default(0.000009),
    gamma_cum_end: z.number().gt(0).max(1).default(0.99999),
  })
  .check(
    refusing("alpha_cum_start", ({ alpha_cum_start: alpha, gamma_cum_start: gamma }) =>
      alpha + gamma > 1 ? `makes more than 1 with gamma_cum_start ${gamma}` : undefined,
    ),
    refusing("alpha_cum_end", ({ alpha_cum_end: alpha, gamma_cum_end: gamma }) =>
      alpha + gamma > 1 ? `makes more than 1 with gamma_cum_end ${gamma}` : undefined,
    ),
    refusing("gamma_cum_end", ({ gamma_cum_start: start, gamma_cum_end: end }) =>
      end < start ? `is less than gamma_cum_start ${start}` : undefined,
    ),
    refusing("alpha_cum_end", ({ alpha_cum_start, alpha_cum_end, gamma_cum_start, gamma_cum_end }) =>
      alpha_cum_end * (1 - gamma_cum_start) > alpha_cum_start * (1 - gamma_cum_end) * ROUNDING
        ? "is a larger part of what is not masked than alpha_cum_start"
        : undefined,
    ),
  );
export type SchedulerConfig = z.infer<typeof schedulerConfigSchema>;

export const textEncoderConfigSchema = z
  .object({
    vocab_size: count(MAX_SYMBOLS),
    hidden_size: count(MAX_WIDTH),
    intermediate_size: count(MAX_WIDTH),
    num_hidden_layers: count(MAX_LAYERS),
    num_attention_heads: count(MAX_HEADS),
    max_position_embeddings: z.int().min(MIN_TEXT_LENGTH).max(MAX_TEXT_POSITIONS),
    hidden_act: z.enum(["quick_gelu", "gelu"]).default("quick_gelu"),
    layer_norm_eps: z.number().min(0).default(1e-5),
  })
  .check(
    refusing("num_attention_heads", ({ num_attention_heads: heads, hidden_size: width }) =>
      width % heads === 0 ? undefined : `does not divide hidden_size ${width}`,
    ),
  );
export type TextEncoderConfig = z.infer<typeof textEncoderConfigSchema>;

export const transformerConfigSchema = z.object({
  num_attention_heads: count(MAX_HEADS),
  attention_head_dim: count(MAX_WIDTH),
  num_layers: count(MAX_LAYERS),
  cross_attention_dim: count(MAX_WIDTH),
  attention_bias: z.boolean().default(false),
  /** Latent pixels per side; the edge accepts no more. */
  sample_size: count(Math.sqrt(MAX_LATENT_PIXELS)),
  /** Classes of a latent pixel, the mask included. */
  num_vector_embeds: classes,
  activation_fn: z.literal("geglu-approximate"),
  num_embeds_ada_norm: count(MAX_TIMESTEPS),
  // "layer_norm" together with num_embeds_ada_norm is how old files say "ada_norm".
  norm_type: z.enum(["ada_norm", "layer_norm"]).default("layer_norm"),
});
export type TransformerConfig = z.infer<typeof transformerConfigSchema>;

export const vqModelConfigSchema = z
  .object({
    in_channels: z.literal(3).default(3),
    out_channels: z.literal(3).default(3),
    down_block_types: z
      .array(z.enum(["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]))
      .min(1)
      .max(MAX_LEVELS),
    up_block_types: z
      .array(z.enum(["UpDecoderBlock2D", "AttnUpDecoderBlock2D"]))
      .min(1)
      .max(MAX_LEVELS),
    block_out_channels: z.array(count(MAX_WIDTH)).min(1).max(MAX_LEVELS),
    layers_per_block: count(MAX_LAYERS).default(1),
    act_fn: z.literal("silu").default("silu"),
    latent_channels: count(MAX_WIDTH),
    num_vq_embeddings: count(MAX_VECTOR_EMBEDS - 1),
    norm_num_groups: count(MAX_WIDTH).default(32),
    // "spatial" is another decoder, which takes the code vectors in each of its norms.
    norm_type: z.literal("group").default("group"),
    // Without it the mid block has different layers.
    mid_block_add_attention: z.literal(true).default(true),
    // Another kind of model, with a different decoder input.
    lookup_from_codebook: z.literal(false).default(false),
    vq_embed_dim: count(MAX_WIDTH).nullish(),
  })
  .check(
    refusing("norm_num_groups", ({ norm_num_groups: groups, block_out_channels: channels }) =>
      channels.every((width) => width % groups === 0)
        ? undefined
        : `does not divide each of block_out_channels ${channels.join(", ")}`,
    ),
  )
  .transform(({ vq_embed_dim: width, ...config }) => ({
    ...config,
    vq_embed_dim: width ?? config.latent_channels,
  }));
export type VQModelConfig = z.infer<typeof vqModelConfigSchema>;

export const classifierFreeConfigSchema = z.object({
  learnable: z.boolean(),
  hidden_size: count(MAX_WIDTH).nullish(),
  length: count(MAX_TEXT_POSITIONS).nullish(),
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
