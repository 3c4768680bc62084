// The denoising transformer (diffusers' Transformer2DModel over latent pixels) and its cross-attention keys and values.

import type { TransformerConfig } from "../checkpoint/config.ts";
import type { Weights } from "../checkpoint/diffusers-layout.ts";
import { attention, concatLinear, layerNorm, linear, matMul, quickGelu, readLinear } from "./layers.ts";
import type { GraphForm } from "./form.ts";
import type { GraphBuilder } from "./onnx.ts";

const EPSILON = 1e-5;
const block = (i: number): string => `transformer_blocks.${i}`;

/** Width of the residual stream. */
export const transformerWidth = (config: TransformerConfig): number =>
  config.num_attention_heads * config.attention_head_dim;

/**
 * Keys and values of every layer's cross-attention, which depend on the prompt alone: computed once per prompt,
 * not once per step, and in fp32. Input `embeddings` [B, S, E], output `cross` [B, 2 x layers, S, D]: key and
 * value of layer 0, of layer 1, ...
 */
export function buildCrossAttention(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  textLength: number,
): void {
  const width = transformerWidth(config);
  const embeddings = graph.input("embeddings", "float32", ["batch", textLength, config.cross_attention_dim]);
  // Layer by layer: together they are 72 matrices in the published model.
  const parts = Array.from({ length: config.num_layers }, (_, i) =>
    ["to_k", "to_v"].map((name) => {
      const layer = readLinear(weights, `${block(i)}.attn2.${name}`, config.cross_attention_dim, width);
      return graph.op("Unsqueeze", [matMul(graph, embeddings, layer), graph.ints([1])]);
    }),
  ).flat();
  const cross = graph.op("Concat", parts, { axis: 1 });
  graph.output("cross", "float32", ["batch", parts.length, textLength, width], cross);
}

/**
 * One denoising pass. Inputs `tokens` int64 [B, L] (class ids, the mask being the last class), `timestep` int64 [B]
 * and `cross` as above; output `log_probs` [B, L, K]: log p(x_0 | x_t, y) over the K classes without the mask.
 */
export function buildTransformer(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  { textLength, ...graphForm }: GraphForm & { textLength: number },
): void {
  const width = transformerWidth(config);
  const pixels = config.sample_size ** 2;
  const form = { ...graphForm, length: pixels };
  const classes = config.num_vector_embeds - 1;
  const shape = {
    heads: config.num_attention_heads,
    headDim: config.attention_head_dim,
    fusedAttention: form.fusedAttention,
  };
  const tokens = graph.input("tokens", "int64", ["batch", pixels]);
  const timestep = graph.input("timestep", "int64", ["batch"]);
  const cross = graph.input("cross", "float32", ["batch", 2 * config.num_layers, textLength, width]);

  const modulation = splitModulation(graph, weights, config, timestep);
  const crossParts = graph.split(cross, new Array<number>(2 * config.num_layers).fill(1), 1);
  const crossPart = (i: number): string =>
    graph.op("Reshape", [crossParts[i] ?? "", graph.ints([-1, textLength, width])]);

  let x = embedLatentPixels(graph, weights, config, tokens);
  for (let i = 0; i < config.num_layers; i++) {
    const read = (name: string, inputs: number, outputs: number) =>
      readLinear(weights, `${block(i)}.${name}`, inputs, outputs);

    const selfInput = modulate(graph, x, width, modulation(i, 0));
    const qkv = concatLinear(["to_q", "to_k", "to_v"].map((name) => read(`attn1.${name}`, width, width)));
    const [q = "", k = "", v = ""] = graph.split(
      linear(graph, selfInput, qkv, form),
      [width, width, width],
      2,
    );
    const self = attention(graph, [q, k, v], shape);
    x = graph.op("Add", [x, linear(graph, self, read("attn1.to_out.0", width, width), form)]);

    const crossInput = modulate(graph, x, width, modulation(i, 1));
    const query = linear(graph, crossInput, read("attn2.to_q", width, width), form);
    const seen = attention(graph, [query, crossPart(2 * i), crossPart(2 * i + 1)], shape);
    x = graph.op("Add", [x, linear(graph, seen, read("attn2.to_out.0", width, width), form)]);

    const normed = layerNorm(graph, x, weights, `${block(i)}.norm3`, width, EPSILON);
    const hidden = quickGelu(graph, linear(graph, normed, read("ff.net.0.proj", width, 4 * width), form));
    x = graph.op("Add", [x, linear(graph, hidden, read("ff.net.2", 4 * width, width), form)]);
  }

  const normed = layerNorm(graph, x, weights, "norm_out", width, EPSILON);
  const logits = linear(graph, normed, readLinear(weights, "out", width, classes), form);
  const logProbs = graph.op("LogSoftmax", [logits], { axis: -1 });
  graph.output("log_probs", "float32", ["batch", pixels, classes], logProbs);
}

/** Embedding of the class plus embeddings of row and column, which add up to one table by position. */
function embedLatentPixels(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  tokens: string,
): string {
  const width = transformerWidth(config);
  const side = config.sample_size;
  const rows = weights.tensor("latent_image_embedding.height_emb.weight", [side, width]);
  const columns = weights.tensor("latent_image_embedding.width_emb.weight", [side, width]);
  const positions = new Float32Array(side * side * width);
  for (let i = 0; i < positions.length; i++) {
    const pixel = Math.floor(i / width);
    const channel = i % width;
    positions[i] =
      (rows[Math.floor(pixel / side) * width + channel] ?? 0) +
      (columns[(pixel % side) * width + channel] ?? 0);
  }
  const classes = config.num_vector_embeds;
  const table = graph.constant(weights.tensor("latent_image_embedding.emb.weight", [classes, width]), [
    classes,
    width,
  ]);
  const embedded = graph.op("Gather", [table, tokens], { axis: 0 });
  return graph.op("Add", [embedded, graph.constant(positions, [side * side, width])]);
}

/**
 * AdaLayerNorm's scale and shift depend on layer and timestep only, so linear(silu(emb[t])) is a table made here.
 * Returns, for layer i and its norm 1 or 2 (index 0 or 1), 1 + scale and shift, each [B, 1, D].
 */
function splitModulation(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  timestep: string,
): (layer: number, norm: 0 | 1) => readonly [string, string] {
  const width = transformerWidth(config);
  const steps = config.num_embeds_ada_norm;
  const columns = 4 * config.num_layers * width;
  const table = new Float32Array(steps * columns);
  for (let i = 0; i < config.num_layers; i++) {
    for (const norm of [0, 1]) {
      const prefix = `${block(i)}.norm${norm + 1}`;
      const part = modulationTable(weights, prefix, steps, width);
      for (let t = 0; t < steps; t++) {
        table.set(
          part.subarray(t * 2 * width, (t + 1) * 2 * width),
          t * columns + (2 * i + norm) * 2 * width,
        );
      }
    }
  }
  const row = graph.op("Gather", [graph.constant(table, [steps, 1, columns]), timestep], { axis: 0 });
  const parts = graph.split(row, new Array<number>(4 * config.num_layers).fill(width), 2);
  return (layer, norm) => {
    const first = 4 * layer + 2 * norm;
    return [parts[first] ?? "", parts[first + 1] ?? ""];
  };
}

/** [steps, 2 x width]: 1 + scale, then shift, of one AdaLayerNorm at every timestep. */
function modulationTable(weights: Weights, prefix: string, steps: number, width: number): Float32Array {
  const embedding = weights.tensor(`${prefix}.emb.weight`, [steps, width]);
  const active = embedding.map((value) => value / (1 + Math.exp(-value)));
  const weight = weights.tensor(`${prefix}.linear.weight`, [2 * width, width]);
  const bias = weights.tensor(`${prefix}.linear.bias`, [2 * width]);
  const table = new Float32Array(steps * 2 * width);
  for (let t = 0; t < steps; t++) {
    for (let row = 0; row < 2 * width; row++) {
      let sum = bias[row] ?? 0;
      for (let i = 0; i < width; i++) sum += (weight[row * width + i] ?? 0) * (active[t * width + i] ?? 0);
      table[t * 2 * width + row] = row < width ? 1 + sum : sum;
    }
  }
  return table;
}

/** LN(x) * (1 + scale) + shift, the norm itself without weights. */
function modulate(
  graph: GraphBuilder,
  x: string,
  width: number,
  [scale, shift]: readonly [string, string],
): string {
  const ones = graph.constant(new Float32Array(width).fill(1), [width]);
  const normed = graph.op("LayerNormalization", [x, ones], { axis: -1, epsilon: { float: EPSILON } });
  return graph.op("Add", [graph.op("Mul", [normed, scale]), shift]);
}
