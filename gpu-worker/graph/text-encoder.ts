// CLIP's text encoder: token ids [B, S] → unit-norm embeddings [B, S, E].

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { TextEncoderConfig } from "../checkpoint/config.ts";
import type { Weights } from "../checkpoint/diffusers-layout.ts";
import { addBranch, attention, layerNorm, linear, quickGelu } from "./layers.ts";
import { concatLinear, readLinear } from "./linear-weights.ts";
import type { GraphForm } from "./form.ts";
import type { FloatType, GraphBuilder } from "./onnx.ts";
import { RowGroup } from "./quantize.ts";

/** Attention score of a masked position: low enough to vanish in the softmax, high enough to stay finite. */
const MASKED_SCORE: Record<FloatType, number> = { float32: -1e9, float16: -3e4 };

/** Input `ids` int64 [B, S], output `embeddings` [B, S, E]; see `textEmbeddings`. */
export function buildTextEncoder(
  graph: GraphBuilder,
  weights: Weights,
  config: TextEncoderConfig,
  { length, ...form }: GraphForm & { length: number },
): void {
  const ids = graph.input("ids", "int64", ["batch", length]);
  const embeddings = textEmbeddings(graph, weights, config, { ...form, ids, length });
  graph.output("embeddings", "float32", ["batch", length, config.hidden_size], embeddings);
}

/**
 * `ids` [B, S] → [B, S, E] in fp32: the output of the final layer norm, each token scaled to unit length, as the
 * transformer receives it. Only the causal mask applies: padding is attended to.
 */
export function textEmbeddings(
  graph: GraphBuilder,
  weights: Weights,
  config: TextEncoderConfig,
  { ids, length, ...graphForm }: GraphForm & { ids: string; length: number },
): string {
  const form = { ...graphForm, group: new RowGroup(graph, length) };
  const { activations } = form;
  const { hidden_size: width, num_attention_heads: heads, layer_norm_eps: epsilon } = config;
  const prefix = "text_model";
  const embedding = `${prefix}.embeddings`;
  const tokens = graph.constant(
    weights.tensor(`${embedding}.token_embedding.weight`, [config.vocab_size, width]),
    [config.vocab_size, width],
  );
  const positions = weights
    .tensor(`${embedding}.position_embedding.weight`, [config.max_position_embeddings, width])
    .subarray(0, length * width);
  let x = graph.op("Add", [
    graph.op("Gather", [tokens, ids], { axis: 0 }),
    graph.constant(positions, [length, width]),
  ]);

  const mask = graph.floats(causalMask(length, activations), [1, 1, length, length], activations);
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const layer = `${prefix}.encoder.layers.${i}`;
    const normed = layerNorm(graph, x, weights, `${layer}.layer_norm1`, width, epsilon);
    const projections = ["q_proj", "k_proj", "v_proj"].map((name) =>
      readLinear(weights, `${layer}.self_attn.${name}`, width, width),
    );
    const [q = outOfBounds(), k = outOfBounds(), v = outOfBounds()] = graph.split(
      linear(graph, normed, concatLinear(projections), form),
      [width, width, width],
      2,
    );
    const mixed = attention(graph, [q, k, v], { heads, headDim: width / heads, activations }, mask);
    const out = readLinear(weights, `${layer}.self_attn.out_proj`, width, width);
    x = addBranch(graph, x, linear(graph, mixed, out, form), form);

    const normed2 = layerNorm(graph, x, weights, `${layer}.layer_norm2`, width, epsilon);
    const hidden = linear(
      graph,
      normed2,
      readLinear(weights, `${layer}.mlp.fc1`, width, config.intermediate_size),
      form,
    );
    const active =
      config.hidden_act === "gelu" ? gelu(graph, hidden, activations) : quickGelu(graph, hidden, activations);
    const down = readLinear(weights, `${layer}.mlp.fc2`, config.intermediate_size, width);
    x = addBranch(graph, x, linear(graph, active, down, form), form);
  }

  const final = layerNorm(graph, x, weights, `${prefix}.final_layer_norm`, width, epsilon);
  const norm = graph.op("ReduceL2", [final], { axes: [-1], keepdims: 1 });
  return graph.op("Div", [final, norm]);
}

function causalMask(length: number, activations: FloatType): Float32Array {
  const mask = new Float32Array(length * length);
  const masked = MASKED_SCORE[activations];
  for (let row = 0; row < length; row++) mask.fill(masked, row * length + row + 1, (row + 1) * length);
  return mask;
}

/** The exact GELU, x/2 (1 + erf(x / sqrt 2)). */
function gelu(graph: GraphBuilder, x: string, type: FloatType): string {
  const erf = graph.op("Erf", [graph.op("Mul", [x, graph.scalar(Math.SQRT1_2, type)])]);
  const half = graph.op("Mul", [x, graph.scalar(0.5, type)]);
  return graph.op("Mul", [half, graph.op("Add", [erf, graph.scalar(1, type)])]);
}
