// What a config of the original code base (microsoft/VQ-Diffusion) says of a model, as far as it decides its numbers.

import { MAX_LATENT_PIXELS, MAX_TIMESTEPS, MAX_VECTOR_EMBEDS } from "@vqd/shared/limits.ts";
import { z } from "zod";
import { CheckpointError } from "../errors.ts";
import { readYaml } from "./yaml.ts";

const MAX_WIDTH = 32_768;
const MAX_LAYERS = 256;
const MAX_HEADS = 1_024;

/** A class that a config names; the module that it is in does not matter. */
const target = <const Names extends readonly [string, ...string[]]>(...names: Names) =>
  z
    .string()
    .transform((path) => path.slice(path.lastIndexOf(".") + 1))
    .pipe(z.enum(names));
const count = (max: number) => z.int().min(1).max(max);
const MAX_SIDE = Math.sqrt(MAX_LATENT_PIXELS);
const sides = z.tuple([count(MAX_SIDE), count(MAX_SIDE)]);
/** A path below the folder that the original is run in; configs write none as the text "None". */
const path = z
  .string()
  .max(4_096)
  .nullish()
  .transform((text) => (text === "None" || text === null ? undefined : text));

const codecSchema = z.object({
  target: target("PatchVQVAE", "TamingGumbelVQVAE", "TamingVQVAE", "TamingFFHQVQVAE"),
  params: z.object({
    token_shape: sides,
    ckpt_path: path,
    mapping_path: path,
    quantize_number: z
      .int()
      .min(0)
      .max(MAX_VECTOR_EMBEDS - 1)
      .default(0),
  }),
});

const textCodecSchema = z.object({
  params: z.object({
    context_length: count(4_096).default(256),
    add_start_and_end: z.literal(true),
    pad_value: z.literal(0).default(0),
    clip_embedding: z.literal(false).default(false),
    tokenizer_config: z.object({
      target: target("SimpleTokenizer"),
      params: z.object({ end_idx: z.int().min(258).max(49_152) }).optional(),
    }),
  }),
});

const conditionSchema = z.object({
  target: target("CLIPTextEmbedding", "ClassEmbedding"),
  params: z.object({
    // Of the text encoder: the transformer attends to the normalized embeddings of all tokens.
    normalize: z.literal(true).optional(),
    pick_last_embedding: z.literal(false).optional(),
    additional_last_embedding: z.literal(false).optional(),
    // Of classes: the label itself is passed on.
    identity: z.literal(true).optional(),
  }),
});

const ATTENTION = { DALLE: "selfcross", C_DALLE: "selfcondition", UC_DALLE: "self" } as const;

const transformerSchema = z.object({
  target: target("Text2ImageTransformer", "Condition2ImageTransformer", "UnCondition2ImageTransformer"),
  params: z.object({
    attn_type: z.enum(["selfcross", "selfcondition", "self"]),
    n_layer: count(MAX_LAYERS),
    n_embd: count(MAX_WIDTH),
    n_head: count(MAX_HEADS),
    content_seq_len: count(MAX_LATENT_PIXELS),
    content_spatial_size: sides,
    mlp_hidden_times: z.number().min(0.125).max(64).default(4),
    mlp_type: z.enum(["fc", "conv_mlp"]).default("fc"),
    // x * sigmoid(1.702 x); the other is the exact GELU, which no published model has.
    block_activate: z.literal("GELU2"),
    timestep_type: z.literal("adalayernorm"),
    class_type: z.literal("adalayernorm").optional(),
  }),
});

const schema = z.object({
  model: z.object({
    target: target("DALLE", "C_DALLE", "UC_DALLE"),
    params: z.object({
      content_codec_config: codecSchema,
      condition_codec_config: textCodecSchema.optional(),
      diffusion_config: z.object({
        params: z.object({
          diffusion_step: z.int().min(2).max(MAX_TIMESTEPS),
          alpha_init_type: z.literal("alpha1"),
          learnable_cf: z.boolean().default(false),
          transformer_config: transformerSchema,
          condition_emb_config: conditionSchema.optional(),
          content_emb_config: z.object({
            params: z.object({
              num_embed: count(MAX_VECTOR_EMBEDS - 1),
              spatial_size: sides,
              pos_emb_type: z.literal("embedding").default("embedding"),
            }),
          }),
        }),
      }),
    }),
  }),
});

export type Family = "text" | "class" | "none";
const FAMILIES = { DALLE: "text", C_DALLE: "class", UC_DALLE: "none" } as const;

export interface OriginalConfig {
  /** What conditions the model. */
  readonly family: Family;
  readonly timesteps: number;
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  /** Width of the feed-forward between its two layers. */
  readonly innerWidth: number;
  /** Whether the feed-forward's layers are 3x3 convolutions. */
  readonly isConvolutional: boolean;
  /** Latent pixels per side. */
  readonly side: number;
  /** Rows and columns by which positions are counted, which can be more than the image has. */
  readonly positionGrid: readonly [number, number];
  /** Classes of a latent pixel, without the mask. */
  readonly codes: number;
  readonly text:
    | { readonly length: number; readonly endIndex: number; readonly learnable: boolean }
    | undefined;
  readonly isGumbel: boolean;
  /** Files that the config names, if it does: the VQ model's own, and the map from its codebook to `codes`. */
  readonly vqgan: string | undefined;
  readonly codeMap: string | undefined;
}

/** Throws a CheckpointError that names the field that is missing, wrong, or of a kind of model that is not supported. */
export function readOriginalConfig(file: string): OriginalConfig {
  const { target: model, params } = readYaml(file, schema).model;
  const fail = (reason: string): never => {
    throw new CheckpointError(file, reason, { remedy: "give the config that the model was trained with" });
  };
  const { content_codec_config: codec, condition_codec_config: textCodec, diffusion_config } = params;
  const {
    transformer_config,
    condition_emb_config: condition,
    content_emb_config,
    ...diffusion
  } = diffusion_config.params;
  const transformer = transformer_config.params;
  const [rows, columns] = transformer.content_spatial_size;
  const family = FAMILIES[model];
  const where = "model.params.diffusion_config.params.transformer_config.params";
  if (transformer.attn_type !== ATTENTION[model]) {
    fail(`${where}.attn_type: is ${transformer.attn_type}, but ${model} has ${ATTENTION[model]}`);
  }
  if (rows !== columns)
    fail(`${where}.content_spatial_size: is ${rows} x ${columns}; only squares are decoded`);
  if (transformer.content_seq_len !== rows * columns) {
    fail(
      `${where}.content_seq_len: is ${transformer.content_seq_len}, but the image has ${rows} x ${columns}`,
    );
  }
  if (transformer.n_embd % transformer.n_head !== 0) fail(`${where}.n_head: does not divide n_embd`);
  const [height, width] = content_emb_config.params.spatial_size;
  if (height * width < transformer.content_seq_len) {
    fail(
      `model.params.diffusion_config.params.content_emb_config.params.spatial_size: has too few positions`,
    );
  }
  if (family === "text" && (textCodec === undefined || condition?.target !== "CLIPTextEmbedding")) {
    fail(
      "model.params: a text model needs condition_codec_config, and CLIPTextEmbedding as condition_emb_config",
    );
  }
  if (family === "class" && condition?.target !== "ClassEmbedding") {
    fail("model.params.diffusion_config.params.condition_emb_config: a class model needs ClassEmbedding");
  }
  if (family === "text" && transformer.mlp_type !== "fc")
    fail(`${where}.mlp_type: must be fc in a text model`);
  const inner = Math.trunc(transformer.mlp_hidden_times * transformer.n_embd);
  const { mapping_path, quantize_number, ckpt_path } = codec.params;
  return {
    family,
    timesteps: diffusion.diffusion_step,
    layers: transformer.n_layer,
    width: transformer.n_embd,
    heads: transformer.n_head,
    innerWidth: inner,
    isConvolutional: transformer.mlp_type === "conv_mlp",
    side: rows,
    positionGrid: [height, width],
    codes: content_emb_config.params.num_embed,
    text:
      textCodec === undefined || family !== "text"
        ? undefined
        : {
            length: textCodec.params.context_length,
            endIndex: textCodec.params.tokenizer_config.params?.end_idx ?? 49_152,
            learnable: diffusion.learnable_cf,
          },
    isGumbel: codec.target === "TamingGumbelVQVAE",
    vqgan: ckpt_path,
    codeMap: quantize_number === 0 ? undefined : mapping_path,
  };
}
