// The configs of a checkpoint's components, as diffusers and transformers write them, old keys and new.

import { MAX_GUIDANCE_SCALE, MAX_VECTOR_EMBEDS, MIN_GUIDANCE_SCALE } from "@vqd/shared/limits.ts";
import { z } from "zod";

const count = z.int().min(1);
/** Codes and the mask: one of each at least, and ids that are uint16. */
const classes = z.int().min(2).max(MAX_VECTOR_EMBEDS);
/** The text encoder takes a start, an end and what is between them. */
const MIN_TEXT_LENGTH = 2;

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
    num_train_timesteps: count.default(100),
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
    vocab_size: count,
    hidden_size: count,
    intermediate_size: count,
    num_hidden_layers: count,
    num_attention_heads: count,
    max_position_embeddings: z.int().min(MIN_TEXT_LENGTH),
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
  num_attention_heads: count,
  attention_head_dim: count,
  num_layers: count,
  cross_attention_dim: count,
  attention_bias: z.boolean().default(false),
  sample_size: count,
  /** Classes of a latent pixel, the mask included. */
  num_vector_embeds: classes,
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
    num_vq_embeddings: count.max(MAX_VECTOR_EMBEDS - 1),
    norm_num_groups: count.default(32),
    // "spatial" is another decoder, which takes the code vectors in each of its norms.
    norm_type: z.literal("group").default("group"),
    vq_embed_dim: count.nullish(),
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
  // transformers writes 1e30 for none, which is an integer but no safe one.
  model_max_length: z.number().min(MIN_TEXT_LENGTH).refine(Number.isInteger, "is not an integer").optional(),
  pad_token: specialToken.nullish(),
});
export const specialTokensSchema = z.object({ pad_token: specialToken.nullish() });
