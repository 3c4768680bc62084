// The original's transformers in diffusers' layout: config and tensors.

import { CheckpointError } from "../errors.ts";
import type { OriginalConfig } from "./config.ts";
import type { Tensors } from "./files.ts";
import { linear, neighbourhood, norm, type PlannedWeight, same } from "./plan.ts";

/** "No class" is this index in the original, whatever the number of classes; beyond the rows it takes their mean. */
const NO_CLASS = 1_000;

const ATTENTION = { to_q: "query", to_k: "key", to_v: "value", "to_out.0": "proj" } as const;

/** The rows of the class embedding. Throws a CheckpointError if they cannot be told apart from "no class". */
export function classesOf(tensors: Tensors): { num_classes: number; null_class: "learned" | "mean" } {
  const name = "transformer.blocks.0.ln2.emb.weight";
  const [rows = 0] = tensors.shape(name, 2);
  if (rows <= NO_CLASS) return { num_classes: rows, null_class: "mean" };
  if (rows === NO_CLASS + 1) return { num_classes: NO_CLASS, null_class: "learned" };
  throw new CheckpointError(
    tensors.path,
    `tensor ${name} has ${rows} classes; the original takes number ${NO_CLASS} for "no class", so there can be ${NO_CLASS + 1}`,
  );
}

/** `transformer/config.json`. Where diffusers has no field, `vqd` holds what vqd reads. */
export function transformerConfig(config: OriginalConfig, tensors: Tensors, textWidth: number | undefined) {
  const { family, width, heads, side, positionGrid, innerWidth, isConvolutional } = config;
  const extension = {
    ...(family === "text" ? {} : { conditioning: family }),
    ...(family === "class" ? classesOf(tensors) : {}),
    ...(innerWidth === 4 * width ? {} : { feed_forward_width: innerWidth }),
    ...(isConvolutional ? { feed_forward_kernel: 3 } : {}),
    ...(positionGrid[0] === side && positionGrid[1] === side ? {} : { position_grid: positionGrid }),
  };
  return {
    _class_name: "Transformer2DModel",
    activation_fn: "geglu-approximate",
    attention_bias: true,
    attention_head_dim: width / heads,
    ...(textWidth === undefined ? {} : { cross_attention_dim: textWidth }),
    dropout: 0,
    in_channels: null,
    norm_num_groups: 32,
    norm_type: "ada_norm",
    num_attention_heads: heads,
    num_embeds_ada_norm: config.timesteps,
    num_layers: config.layers,
    num_vector_embeds: config.codes + 1,
    sample_size: side,
    ...(Object.keys(extension).length === 0 ? {} : { vqd: extension }),
  };
}

/** Throws a CheckpointError that names a tensor that is missing or has a shape that the config does not imply. */
export function transformerWeights(
  config: OriginalConfig,
  tensors: Tensors,
  textWidth: number | undefined,
): PlannedWeight[] {
  const { family, width, layers, codes, timesteps, innerWidth: inner, isConvolutional } = config;
  const [rows, columns] = config.positionGrid;
  const layer = isConvolutional ? neighbourhood : linear;
  const [first, second] = isConvolutional ? ["conv1", "conv2"] : ["0", "2"];
  const embed = "transformer.content_emb";
  const latent = "latent_image_embedding";
  const found = tensors.countOf("transformer.blocks.");
  if (found !== layers) {
    throw new CheckpointError(tensors.path, `has ${found} blocks, but the config implies ${layers}`, {
      remedy: "take config and weights from the same model",
    });
  }
  const adaNorm = (name: string, from: string, conditions: number): PlannedWeight[] => [
    same(tensors, `${name}.emb.weight`, `${from}.emb.weight`, [conditions, width]),
    ...linear(tensors, `${name}.linear`, `${from}.linear`, [2 * width, width]),
  ];
  const attention = (name: string, from: string, source: number): PlannedWeight[] =>
    Object.entries(ATTENTION).flatMap(([own, theirs]) => {
      const isOfSource = own === "to_k" || own === "to_v";
      return linear(tensors, `${name}.${own}`, `${from}.${theirs}`, [width, isOfSource ? source : width]);
    });
  const block = (i: number): PlannedWeight[] => {
    const [name, from] = [`transformer_blocks.${i}`, `transformer.blocks.${i}`];
    const selfAttention = family === "text" ? "attn1" : "attn";
    const { num_classes: labels, null_class } = family === "class" ? classesOf(tensors) : { num_classes: 0 };
    return [
      ...adaNorm(`${name}.norm1`, `${from}.ln1`, timesteps),
      ...attention(`${name}.attn1`, `${from}.${selfAttention}`, width),
      ...(textWidth === undefined
        ? []
        : [
            ...adaNorm(`${name}.norm2`, `${from}.ln1_1`, timesteps),
            ...attention(`${name}.attn2`, `${from}.attn2`, textWidth),
          ]),
      ...(family === "class"
        ? adaNorm(`${name}.norm3`, `${from}.ln2`, null_class === "learned" ? labels + 1 : labels)
        : norm(tensors, `${name}.norm3`, `${from}.ln2`, width)),
      ...layer(tensors, `${name}.ff.net.0.proj`, `${from}.mlp.${first}`, [inner, width]),
      ...layer(tensors, `${name}.ff.net.2`, `${from}.mlp.${second}`, [width, inner]),
    ];
  };
  return [
    same(tensors, `${latent}.emb.weight`, `${embed}.emb.weight`, [codes + 1, width]),
    same(tensors, `${latent}.height_emb.weight`, `${embed}.height_emb.weight`, [rows, width]),
    same(tensors, `${latent}.width_emb.weight`, `${embed}.width_emb.weight`, [columns, width]),
    ...Array.from({ length: layers }, (_, i) => block(i)).flat(),
    ...norm(tensors, "norm_out", "transformer.to_logits.0", width),
    ...linear(tensors, "out", "transformer.to_logits.1", [codes, width]),
  ];
}
