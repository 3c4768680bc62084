// The two halves of the VQ model (diffusers' VQModel): codes → image, and image → features before quantization.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { VQModelConfig } from "../checkpoint/config.ts";
import type { Weights } from "../checkpoint/diffusers-layout.ts";
import { attention, conv, groupNorm, matMul, silu } from "./layers.ts";
import { readLinear } from "./linear-weights.ts";
import type { GraphBuilder } from "./onnx.ts";

const EPSILON = 1e-6;

/** What the blocks of one graph share. */
interface Context {
  readonly graph: GraphBuilder;
  readonly weights: Weights;
  readonly groups: number;
}

/**
 * Input `codes` int64 [B, h, w], output `image` [B, 3, H, W] in about -1 .. 1: code vectors, post_quant_conv and
 * the decoder.
 */
export function buildVQDecoder(graph: GraphBuilder, weights: Weights, config: VQModelConfig): void {
  const context = { graph, weights, groups: config.norm_num_groups };
  const { num_tokens: tokens, vq_embed_dim: codeWidth, latent_channels: latent } = config;
  const input = graph.input("codes", "int64", ["batch", "height", "width"]);
  const codebook = graph.constant(tokenVectors(weights, config), [tokens, codeWidth]);
  const vectors = graph.op("Transpose", [graph.op("Gather", [codebook, input], { axis: 0 })], {
    perm: [0, 3, 1, 2],
  });
  let x = conv(graph, vectors, weights, "post_quant_conv", { inputs: codeWidth, outputs: latent, kernel: 1 });

  const widths = config.block_out_channels.toReversed();
  let channels = widths[0] ?? outOfBounds();
  x = conv(graph, x, weights, "decoder.conv_in", { inputs: latent, outputs: channels, kernel: 3 });
  x = midBlock(context, x, "decoder.mid_block", channels);
  for (const [i, width] of widths.entries()) {
    const prefix = `decoder.up_blocks.${i}`;
    for (let j = 0; j < config.layers_per_block + 1; j++) {
      x = resnet(context, x, `${prefix}.resnets.${j}`, channels, width);
      if (config.up_block_types[i] === "AttnUpDecoderBlock2D") {
        x = pixelAttention(context, x, `${prefix}.attentions.${j}`, width);
      }
      channels = width;
    }
    if (i < widths.length - 1) {
      const larger = graph.op("Resize", [x, "", graph.constant(Float32Array.of(1, 1, 2, 2), [4])], {
        mode: "nearest",
        coordinate_transformation_mode: "asymmetric",
        nearest_mode: "floor",
      });
      x = conv(graph, larger, weights, `${prefix}.upsamplers.0.conv`, {
        inputs: width,
        outputs: width,
        kernel: 3,
      });
    }
  }
  x = outputConv(context, x, "decoder", channels, 3);
  graph.output("image", "float32", ["batch", 3, "image_height", "image_width"], x);
}

/** The code vector of each token: a row of the codebook or, with a map, the first that the map gives the token to. */
function tokenVectors(weights: Weights, config: VQModelConfig): Float32Array {
  const { num_vq_embeddings: codes, vq_embed_dim: width, code_map: map } = config;
  const codebook = weights.tensor("quantize.embedding.weight", [codes, width]);
  if (map === undefined) return codebook;
  const vectors = new Float32Array(config.num_tokens * width);
  for (let token = 0; token < config.num_tokens; token++) {
    const code = map.indexOf(token);
    vectors.set(codebook.subarray(code * width, (code + 1) * width), token * width);
  }
  return vectors;
}

/** Input `image` [B, 3, H, W] in -1 .. 1, output `features` [B, C, h, w]: the encoder and quant_conv. */
export function buildVQEncoder(graph: GraphBuilder, weights: Weights, config: VQModelConfig): void {
  const context = { graph, weights, groups: config.norm_num_groups };
  const widths = config.block_out_channels;
  let channels = widths[0] ?? outOfBounds();
  let x = graph.input("image", "float32", ["batch", 3, "image_height", "image_width"]);
  x = conv(graph, x, weights, "encoder.conv_in", { inputs: 3, outputs: channels, kernel: 3 });
  for (const [i, width] of widths.entries()) {
    const prefix = `encoder.down_blocks.${i}`;
    for (let j = 0; j < config.layers_per_block; j++) {
      x = resnet(context, x, `${prefix}.resnets.${j}`, channels, width);
      if (config.down_block_types[i] === "AttnDownEncoderBlock2D") {
        x = pixelAttention(context, x, `${prefix}.attentions.${j}`, width);
      }
      channels = width;
    }
    if (i < widths.length - 1) {
      // The reference pads right and bottom only.
      const options = { inputs: width, outputs: width, kernel: 3, stride: 2, pads: [0, 0, 1, 1] };
      x = conv(graph, x, weights, `${prefix}.downsamplers.0.conv`, options);
    }
  }
  x = midBlock(context, x, "encoder.mid_block", channels);
  x = outputConv(context, x, "encoder", channels, config.latent_channels);
  const options = { inputs: config.latent_channels, outputs: config.vq_embed_dim, kernel: 1 };
  const features = conv(graph, x, weights, "quant_conv", options);
  graph.output("features", "float32", ["batch", config.vq_embed_dim, "height", "width"], features);
}

function outputConv(
  { graph, weights, groups }: Context,
  x: string,
  prefix: string,
  channels: number,
  outputs: number,
) {
  const norm = groupNorm(graph, x, weights, `${prefix}.conv_norm_out`, {
    channels,
    groups,
    epsilon: EPSILON,
  });
  return conv(graph, silu(graph, norm), weights, `${prefix}.conv_out`, {
    inputs: channels,
    outputs,
    kernel: 3,
  });
}

function midBlock(context: Context, x: string, prefix: string, channels: number): string {
  const first = resnet(context, x, `${prefix}.resnets.0`, channels, channels);
  const mixed = pixelAttention(context, first, `${prefix}.attentions.0`, channels);
  return resnet(context, mixed, `${prefix}.resnets.1`, channels, channels);
}

function resnet(
  { graph, weights, groups }: Context,
  x: string,
  prefix: string,
  inputs: number,
  outputs: number,
) {
  const normed = groupNorm(graph, x, weights, `${prefix}.norm1`, {
    channels: inputs,
    groups,
    epsilon: EPSILON,
  });
  const first = conv(graph, silu(graph, normed), weights, `${prefix}.conv1`, { inputs, outputs, kernel: 3 });
  const normed2 = groupNorm(graph, first, weights, `${prefix}.norm2`, {
    channels: outputs,
    groups,
    epsilon: EPSILON,
  });
  const options = { inputs: outputs, outputs, kernel: 3 };
  const second = conv(graph, silu(graph, normed2), weights, `${prefix}.conv2`, options);
  const shortcut =
    inputs === outputs
      ? x
      : conv(graph, x, weights, `${prefix}.conv_shortcut`, { inputs, outputs, kernel: 1 });
  return graph.op("Add", [shortcut, second]);
}

/** Self-attention between all pixels of x [B, C, H, W], one head of full width, with its residual. */
function pixelAttention(
  { graph, weights, groups }: Context,
  x: string,
  prefix: string,
  channels: number,
): string {
  // Old files use the layer names of the block's first version.
  const layer = (name: string, old: string) => {
    const found = weights.firstOf(`${prefix}.${name}.weight`, `${prefix}.${old}.weight`);
    return readLinear(weights, found.slice(0, -".weight".length), channels, channels);
  };
  const normed = groupNorm(graph, x, weights, `${prefix}.group_norm`, { channels, groups, epsilon: EPSILON });
  const flat = graph.op("Transpose", [graph.op("Reshape", [normed, graph.ints([0, channels, -1])])], {
    perm: [0, 2, 1],
  });
  const q = matMul(graph, flat, layer("to_q", "query"));
  const k = matMul(graph, flat, layer("to_k", "key"));
  const v = matMul(graph, flat, layer("to_v", "value"));
  const mixed = attention(graph, [q, k, v], { heads: 1, headDim: channels });
  const out = matMul(graph, mixed, layer("to_out.0", "proj_attn"));
  const back = graph.op("Reshape", [
    graph.op("Transpose", [out], { perm: [0, 2, 1] }),
    graph.op("Shape", [x]),
  ]);
  return graph.op("Add", [back, x]);
}
