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

/** What conditions a model: a prompt, the label of a class, or nothing. */
export const CONDITIONINGS = ["text", "class", "none"] as const;
export type Conditioning = (typeof CONDITIONINGS)[number];

const MAX_CLASSES = 65_536;
const MAX_SIDE = Math.sqrt(MAX_LATENT_PIXELS);

/** What vqd reads of `transformer/config.json` beyond diffusers: models of the original code base (docs/originals.md). */
const transformerExtensionSchema = z.strictObject({
  conditioning: z.enum(CONDITIONINGS).default("text"),
  /** Labels 0 to num_classes - 1, of a model conditioned by class. */
  num_classes: count(MAX_CLASSES).optional(),
  /** "No class": a learned row after the labels', or the mean of all rows. */
  null_class: z.enum(["learned", "mean"]).optional(),
  /** Between the two layers of the feed-forward [4 times the width]. */
  feed_forward_width: count(MAX_WIDTH * 4).optional(),
  /** 3: its layers see the 3 x 3 neighbours of a pixel, row by row, as a convolution does; weights [outputs, 9 x inputs]. */
  feed_forward_kernel: z.literal([1, 3]).default(1),
  /** Rows and columns by which positions are counted: pixel i is in row floor(i / columns) [those of the image]. */
  position_grid: z.tuple([count(MAX_SIDE), count(MAX_SIDE)]).optional(),
});

export const transformerConfigSchema = z
  .object({
    num_attention_heads: count(MAX_HEADS),
    attention_head_dim: count(MAX_WIDTH),
    num_layers: count(MAX_LAYERS),
    /** Only in models with a text encoder. */
    cross_attention_dim: count(MAX_WIDTH).nullish(),
    attention_bias: z.boolean().default(false),
    /** Latent pixels per side; the edge accepts no more. */
    sample_size: count(MAX_SIDE),
    /** Classes of a latent pixel, the mask included. */
    num_vector_embeds: classes,
    activation_fn: z.literal("geglu-approximate"),
    num_embeds_ada_norm: count(MAX_TIMESTEPS),
    // "layer_norm" together with num_embeds_ada_norm is how old files say "ada_norm".
    norm_type: z.enum(["ada_norm", "layer_norm"]).default("layer_norm"),
    vqd: transformerExtensionSchema.optional(),
  })
  .check(
    refusing("cross_attention_dim", ({ vqd, cross_attention_dim: width }) =>
      (vqd?.conditioning ?? "text") === "text" && typeof width !== "number"
        ? "must be a number: the width of the text encoder"
        : undefined,
    ),
    refusing("vqd", ({ vqd }) =>
      vqd?.conditioning === "class" && (vqd.num_classes === undefined || vqd.null_class === undefined)
        ? "must have num_classes and null_class, as the model is conditioned by class"
        : undefined,
    ),
    refusing("vqd", ({ vqd }) =>
      vqd !== undefined && vqd.conditioning !== "class" && (vqd.num_classes ?? vqd.null_class) !== undefined
        ? "has classes, but the model is not conditioned by class"
        : undefined,
    ),
    refusing("vqd", ({ vqd, sample_size: side }) =>
      vqd?.position_grid !== undefined && vqd.position_grid[0] * vqd.position_grid[1] < side ** 2
        ? `position_grid has fewer positions than the ${side} x ${side} of sample_size`
        : undefined,
    ),
  )
  .transform(({ vqd, cross_attention_dim, ...config }) => ({
    ...config,
    /** 0 without a text encoder. */
    cross_attention_dim: cross_attention_dim ?? 0,
    conditioning: vqd?.conditioning ?? "text",
    num_classes: vqd?.num_classes ?? 0,
    null_class: vqd?.null_class ?? "mean",
    feed_forward_width: vqd?.feed_forward_width ?? 4 * config.num_attention_heads * config.attention_head_dim,
    feed_forward_kernel: vqd?.feed_forward_kernel ?? 1,
    position_grid: vqd?.position_grid ?? ([config.sample_size, config.sample_size] as const),
  }));
export type TransformerConfig = z.output<typeof transformerConfigSchema>;

/** What vqd reads of `vqvae/config.json` beyond diffusers. */
const vqModelExtensionSchema = z.strictObject({
  /** "gumbel" codes are the largest outputs of a layer (`quantize.proj`); others, the nearest rows of the codebook. */
  quantizer: z.enum(["nearest", "gumbel"]).default("nearest"),
  /**
   * The token of each code, of models that use a part of a codebook: a token is decoded as the first code that has it, and
   * codes that the model has no token for are encoded as 0.
   */
  code_map: z
    .array(
      z
        .int()
        .min(0)
        .max(MAX_VECTOR_EMBEDS - 2),
    )
    .max(MAX_VECTOR_EMBEDS - 1)
    .optional(),
});

/** Of a map, the number of tokens; undefined unless each of them has a code. */
function tokensOf(map: readonly number[]): number | undefined {
  const tokens = new Set(map);
  const largest = map.reduce((most, token) => Math.max(most, token), -1);
  return tokens.size === largest + 1 ? tokens.size : undefined;
}

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
    vqd: vqModelExtensionSchema.optional(),
  })
  .check(
    refusing("vqd", ({ vqd, num_vq_embeddings: codes }) =>
      vqd?.code_map !== undefined && vqd.code_map.length !== codes
        ? `code_map has ${vqd.code_map.length} entries, but the codebook has ${codes}`
        : undefined,
    ),
    refusing("vqd", ({ vqd }) =>
      vqd?.code_map !== undefined && tokensOf(vqd.code_map) === undefined
        ? "code_map leaves out a token: each up to the largest needs a code"
        : undefined,
    ),
    refusing("norm_num_groups", ({ norm_num_groups: groups, block_out_channels: channels }) =>
      channels.every((width) => width % groups === 0)
        ? undefined
        : `does not divide each of block_out_channels ${channels.join(", ")}`,
    ),
  )
  .transform(({ vq_embed_dim: width, vqd, ...config }) => ({
    ...config,
    vq_embed_dim: width ?? config.latent_channels,
    quantizer: vqd?.quantizer ?? "nearest",
    code_map: vqd?.code_map,
    /** What a latent pixel can be: the codes, or those of them that the map has tokens for. */
    num_tokens: (vqd?.code_map && tokensOf(vqd.code_map)) ?? config.num_vq_embeddings,
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

/** What model_index.json calls a model by what conditions it; only the first is diffusers'. */
export const PIPELINE_CLASSES = {
  text: "VQDiffusionPipeline",
  class: "VQDiffusionClassPipeline",
  none: "VQDiffusionUnconditionalPipeline",
} as const;

const MAX_CLASS_NAME = 400;

export const modelIndexSchema = z.object({
  _class_name: z.enum(Object.values(PIPELINE_CLASSES)),
  /** Names of classes by label, with synonyms after commas, as diffusers' DiTPipeline has them; optional. */
  id2label: z
    .record(z.string().regex(/^(?:0|[1-9]\d{0,5})$/, "not a label"), z.string().min(1).max(MAX_CLASS_NAME))
    .optional(),
});
