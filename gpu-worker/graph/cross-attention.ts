// What the transformer attends to: the prompts' keys and values, given to a pass or computed in it.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { TransformerConfig } from "../checkpoint/config.ts";
import type { Weights } from "../checkpoint/diffusers-layout.ts";
import type { GraphForm } from "./form.ts";
import { linearInput, matMul, product, addBias } from "./layers.ts";
import { readLinear } from "./linear-weights.ts";
import type { GraphBuilder } from "./onnx.ts";
import { RowGroup } from "./quantize.ts";

export const block = (i: number): string => `transformer_blocks.${i}`;

/** Width of the residual stream. */
export const transformerWidth = (config: TransformerConfig): number =>
  config.num_attention_heads * config.attention_head_dim;

/** Keys and values [B, S, D] of the cross-attention of layer i, for each row. */
export type CrossAttention = (layer: number) => readonly [string, string];

/**
 * Keys and values of every layer's cross-attention, which depend only on the prompt: computed in fp32, once per prompt
 * rather than once per step. Input `embeddings` [B, S, E], output `cross` [B, 2 x layers, S, D]: key and value of layer
 * 0, of layer 1, ...
 */
export function buildCrossAttention(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  textLength: number,
): void {
  const width = transformerWidth(config);
  const embeddings = graph.input("embeddings", "float32", ["batch", textLength, config.cross_attention_dim]);
  // Layer by layer: in the published model these are 72 matrices.
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
 * Inputs `cross` for P prompts, as `buildCrossAttention` outputs them, and `prompt` int64 [B], the prompt of each row.
 * Taken layer by layer, where they are needed: together they take 31 MB per prompt in the published model.
 */
export function givenCrossAttention(
  graph: GraphBuilder,
  config: TransformerConfig,
  { textLength, activations }: Pick<GraphForm, "activations"> & { textLength: number },
): CrossAttention {
  const { num_layers: layers } = config;
  const width = transformerWidth(config);
  const cross = graph.input("cross", "float32", ["prompts", 2 * layers, textLength, width]);
  const prompt = graph.input("prompt", "int64", ["batch"]);
  const rows = graph.op("Reshape", [cross, graph.ints([-1, textLength, width])]);
  const first = graph.op("Mul", [prompt, graph.ints([2 * layers])]);
  const part = (i: number): string => {
    const indices = i === 0 ? first : graph.op("Add", [first, graph.ints([i])]);
    const taken = graph.op("Gather", [rows, indices], { axis: 0 });
    return activations === "float16" ? graph.cast(taken, activations) : taken;
  };
  return (i) => [part(2 * i), part(2 * i + 1)];
}

/**
 * Computed in the pass from `embeddings` [P, S, E], a value of the graph. Input `prompt` int32 [B], the prompt of each row.
 * That takes less than a hundredth of a step of the published model, and the alternative is to upload 31 MB per prompt.
 */
export function computedCrossAttention(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  { embeddings, textLength, ...form }: GraphForm & { embeddings: string; textLength: number },
): CrossAttention {
  const width = transformerWidth(config);
  const inputs = config.cross_attention_dim;
  const prompt = graph.input("prompt", "int32", ["batch"]);
  const layerForm = { ...form, group: new RowGroup(graph, textLength) };
  const input = linearInput(graph, embeddings, inputs, layerForm);
  return (i) => {
    const [key, value] = ["to_k", "to_v"].map((name) => {
      const layer = readLinear(weights, `${block(i)}.attn2.${name}`, inputs, width);
      const ofPrompts = addBias(graph, product(graph, input, layer, layerForm), layer.bias, form.activations);
      return graph.op("Gather", [ofPrompts, prompt], { axis: 0 });
    });
    return [key ?? outOfBounds(), value ?? outOfBounds()];
  };
}
