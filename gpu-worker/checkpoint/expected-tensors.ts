// Names and shapes of all tensors that a component's config implies.

import type { TextEncoderConfig, TransformerConfig, VQModelConfig } from "./config.ts";

export interface ExpectedTensor {
  /** Its name; after that, what old files call it. */
  readonly names: readonly [string, ...string[]];
  readonly shape: readonly number[];
}

type Tensors = ExpectedTensor[];

const tensor = (name: string, ...shape: number[]): ExpectedTensor => ({ names: [name], shape });

/** Weight [outputs, inputs] and, if it has one, bias of a linear layer. */
const linear = (prefix: string, inputs: number, outputs: number, bias = true): Tensors => [
  tensor(`${prefix}.weight`, outputs, inputs),
  ...(bias ? [tensor(`${prefix}.bias`, outputs)] : []),
];

/** Weight and bias of a layer norm or a group norm. */
const norm = (prefix: string, width: number): Tensors => [
  tensor(`${prefix}.weight`, width),
  tensor(`${prefix}.bias`, width),
];

const conv = (prefix: string, inputs: number, outputs: number, kernel: number): Tensors => [
  tensor(`${prefix}.weight`, outputs, inputs, kernel, kernel),
  tensor(`${prefix}.bias`, outputs),
];

const times = <T>(count: number, make: (i: number) => T[]): T[] =>
  Array.from({ length: count }, (_, i) => make(i)).flat();

/** Prefix of the text encoder's tensors; transformers 5 omits it from its state_dict(). */
export const TEXT_MODEL = "text_model.";

export function textEncoderTensors(config: TextEncoderConfig): Tensors {
  const { hidden_size: width, intermediate_size: inner } = config;
  const tensors = [
    tensor("text_model.embeddings.token_embedding.weight", config.vocab_size, width),
    tensor("text_model.embeddings.position_embedding.weight", config.max_position_embeddings, width),
    ...times(config.num_hidden_layers, (i) => {
      const layer = `text_model.encoder.layers.${i}`;
      return [
        ...norm(`${layer}.layer_norm1`, width),
        ...["q_proj", "k_proj", "v_proj", "out_proj"].flatMap((name) =>
          linear(`${layer}.self_attn.${name}`, width, width),
        ),
        ...norm(`${layer}.layer_norm2`, width),
        ...linear(`${layer}.mlp.fc1`, width, inner),
        ...linear(`${layer}.mlp.fc2`, inner, width),
      ];
    }),
    ...norm("text_model.final_layer_norm", width),
  ];
  return tensors.map(({ names: [name], shape }) => ({ names: [name, name.slice(TEXT_MODEL.length)], shape }));
}

export function transformerTensors(config: TransformerConfig): Tensors {
  const width = config.num_attention_heads * config.attention_head_dim;
  const { conditioning, num_classes: labels, null_class, feed_forward_width: inner } = config;
  const neighbours = config.feed_forward_kernel ** 2;
  const [rows, columns] = config.position_grid;
  const attention = (prefix: string, source: number): Tensors => [
    ...linear(`${prefix}.to_q`, width, width, config.attention_bias),
    ...linear(`${prefix}.to_k`, source, width, config.attention_bias),
    ...linear(`${prefix}.to_v`, source, width, config.attention_bias),
    ...linear(`${prefix}.to_out.0`, width, width),
  ];
  const adaNorm = (prefix: string, conditions = config.num_embeds_ada_norm): Tensors => [
    tensor(`${prefix}.emb.weight`, conditions, width),
    ...linear(`${prefix}.linear`, width, 2 * width),
  ];
  return [
    tensor("latent_image_embedding.emb.weight", config.num_vector_embeds, width),
    tensor("latent_image_embedding.height_emb.weight", rows, width),
    tensor("latent_image_embedding.width_emb.weight", columns, width),
    ...times(config.num_layers, (i) => {
      const block = `transformer_blocks.${i}`;
      return [
        ...adaNorm(`${block}.norm1`),
        ...attention(`${block}.attn1`, width),
        ...(conditioning === "text"
          ? [...adaNorm(`${block}.norm2`), ...attention(`${block}.attn2`, config.cross_attention_dim)]
          : []),
        ...(conditioning === "class"
          ? adaNorm(`${block}.norm3`, null_class === "learned" ? labels + 1 : labels)
          : norm(`${block}.norm3`, width)),
        ...linear(`${block}.ff.net.0.proj`, neighbours * width, inner),
        ...linear(`${block}.ff.net.2`, neighbours * inner, width),
      ];
    }),
    ...norm("norm_out", width),
    ...linear("out", width, config.num_vector_embeds - 1),
  ];
}

const OLD_ATTENTION_NAMES = { to_q: "query", to_k: "key", to_v: "value", "to_out.0": "proj_attn" } as const;

function pixelAttention(prefix: string, width: number): Tensors {
  const layers = Object.entries(OLD_ATTENTION_NAMES).flatMap(([name, old]): Tensors => [
    { names: [`${prefix}.${name}.weight`, `${prefix}.${old}.weight`], shape: [width, width] },
    { names: [`${prefix}.${name}.bias`, `${prefix}.${old}.bias`], shape: [width] },
  ]);
  return [...norm(`${prefix}.group_norm`, width), ...layers];
}

const resnet = (prefix: string, inputs: number, outputs: number): Tensors => [
  ...norm(`${prefix}.norm1`, inputs),
  ...conv(`${prefix}.conv1`, inputs, outputs, 3),
  ...norm(`${prefix}.norm2`, outputs),
  ...conv(`${prefix}.conv2`, outputs, outputs, 3),
  ...(inputs === outputs ? [] : conv(`${prefix}.conv_shortcut`, inputs, outputs, 1)),
];

const midBlock = (prefix: string, width: number): Tensors => [
  ...resnet(`${prefix}.resnets.0`, width, width),
  ...pixelAttention(`${prefix}.attentions.0`, width),
  ...resnet(`${prefix}.resnets.1`, width, width),
];

interface Side {
  /** "encoder.down_blocks" */
  readonly prefix: string;
  readonly widths: readonly number[];
  readonly types: readonly string[];
  readonly resnets: number;
  /** What changes the size between two levels: "downsamplers". */
  readonly sampler: string;
}

/** The blocks of the encoder or the decoder, the first of which takes `inputs` channels. */
function levels({ prefix, widths, types, resnets, sampler }: Side, inputs: number): Tensors {
  let channels = inputs;
  return widths.flatMap((width, i) => {
    const block = times(resnets, (j) => {
      const layer = resnet(`${prefix}.${i}.resnets.${j}`, channels, width);
      channels = width;
      const attends = types[i]?.startsWith("Attn") === true;
      return attends ? [...layer, ...pixelAttention(`${prefix}.${i}.attentions.${j}`, width)] : layer;
    });
    const last = i === widths.length - 1;
    return last ? block : [...block, ...conv(`${prefix}.${i}.${sampler}.0.conv`, width, width, 3)];
  });
}

export function vqModelTensors(config: VQModelConfig): Tensors {
  const { block_out_channels: widths, latent_channels: latent, vq_embed_dim: code } = config;
  const [first = latent] = widths;
  const last = widths.at(-1) ?? latent;
  const encoder = {
    prefix: "encoder.down_blocks",
    widths,
    types: config.down_block_types,
    resnets: config.layers_per_block,
    sampler: "downsamplers",
  };
  const decoder = {
    prefix: "decoder.up_blocks",
    widths: widths.toReversed(),
    types: config.up_block_types,
    resnets: config.layers_per_block + 1,
    sampler: "upsamplers",
  };
  return [
    ...conv("encoder.conv_in", 3, first, 3),
    ...levels(encoder, first),
    ...midBlock("encoder.mid_block", last),
    ...norm("encoder.conv_norm_out", last),
    ...conv("encoder.conv_out", last, latent, 3),
    ...conv("quant_conv", latent, code, 1),
    tensor("quantize.embedding.weight", config.num_vq_embeddings, code),
    ...(config.quantizer === "gumbel" ? linear("quantize.proj", code, config.num_vq_embeddings) : []),
    ...conv("post_quant_conv", code, latent, 1),
    ...conv("decoder.conv_in", latent, last, 3),
    ...midBlock("decoder.mid_block", last),
    ...levels(decoder, last),
    ...norm("decoder.conv_norm_out", first),
    ...conv("decoder.conv_out", first, 3, 3),
  ];
}

/** The learned stand-in for "no prompt": one embedding of `width` for each of `length` tokens. */
export const unconditionalTensors = (length: number, width: number): Tensors => [
  tensor("embeddings", length, width),
];
