// Layers that several graphs use: linear, layer norm, attention, group norm, convolution.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { Weights } from "../checkpoint/diffusers-layout.ts";
import type { FloatType, GraphBuilder } from "./onnx.ts";
import type { GraphForm } from "./form.ts";
import type { LinearWeights } from "./linear-weights.ts";
import { type Int8Rows, int8Product, quantizeActivations, type RowGroup } from "./quantize.ts";
import { blockProduct } from "./weight-blocks.ts";

/** x [..., inputs] → [..., outputs] in fp32. */
export function matMul(graph: GraphBuilder, x: string, layer: LinearWeights): string {
  const weight = graph.constant(layer.weight, [layer.inputs, layer.outputs]);
  return addBias(graph, graph.op("MatMul", [x, weight]), layer.bias);
}

export function addBias(
  graph: GraphBuilder,
  x: string,
  bias: Float32Array | undefined,
  type: FloatType = "float32",
): string {
  return bias === undefined ? x : graph.op("Add", [x, graph.floats(bias, [bias.length], type)]);
}

/** The form of layers, and the rows that they share. */
export interface LayerForm extends GraphForm {
  readonly group: RowGroup;
}

/** A value [B, length, inputs] as input of linear layers: rounded once for all of them. */
export interface LinearInput {
  /** In the form's type of activations. */
  readonly x: string;
  readonly int8: Int8Rows | undefined;
}

/** `lowest` is a lower bound of the values, if it is only slightly below zero. */
export function linearInput(
  graph: GraphBuilder,
  x: string,
  inputs: number,
  { quantization, activations, group }: LayerForm,
  lowest?: number,
): LinearInput {
  return {
    x: activations === "float16" ? graph.cast(x, activations) : x,
    int8: quantization === "int8" ? quantizeActivations(graph, x, { inputs, group, lowest }) : undefined,
  };
}

/** x → [B, length, outputs] in the form's type of activations, without the layer's bias. */
export function product(
  graph: GraphBuilder,
  { x, int8 }: LinearInput,
  layer: LinearWeights,
  { activations, weightBits }: Pick<GraphForm, "activations" | "weightBits">,
): string {
  if (int8 !== undefined) return int8Product(graph, int8, layer);
  if (weightBits !== undefined) return blockProduct(graph, x, layer, { bits: weightBits, activations });
  const weight = graph.floats(layer.weight, [layer.inputs, layer.outputs], activations);
  return graph.op("MatMul", [x, weight]);
}

/** x [B, length, inputs] → [B, length, outputs] in the form's type of activations. */
export function linear(graph: GraphBuilder, x: string, layer: LinearWeights, form: LayerForm): string {
  const out = product(graph, linearInput(graph, x, layer.inputs, form), layer, form);
  return addBias(graph, out, layer.bias, form.activations);
}

/** x + branch in fp32, x being the residual stream and `branch` in the form's type of activations. */
export function addBranch(
  graph: GraphBuilder,
  x: string,
  branch: string,
  { activations }: Pick<GraphForm, "activations">,
): string {
  return graph.op("Add", [x, activations === "float16" ? graph.cast(branch, "float32") : branch]);
}

/** Scale and shift of a layer norm over the last axis; one without a shift may have a scale of 1. */
export interface NormWeights {
  readonly scale: Float32Array;
  readonly shift: Float32Array | undefined;
}

const NORM_EPSILON = 1e-5;

/** `prefix.weight` and `prefix.bias`. */
export const readNorm = (weights: Weights, prefix: string, width: number): NormWeights => ({
  scale: weights.tensor(`${prefix}.weight`, [width]),
  shift: weights.tensor(`${prefix}.bias`, [width]),
});

/** Layer norm over the last axis. */
export function norm(graph: GraphBuilder, x: string, weights: NormWeights, epsilon = NORM_EPSILON): string {
  return graph.op("LayerNormalization", [x, ...normConstants(graph, weights)], {
    axis: -1,
    epsilon: { float: epsilon },
  });
}

function normConstants(graph: GraphBuilder, { scale, shift }: NormWeights): string[] {
  return [scale, shift].flatMap((values) =>
    values === undefined ? [] : [graph.constant(values, [values.length])],
  );
}

/** The same with weights `prefix.weight` and `prefix.bias`. */
export function layerNorm(
  graph: GraphBuilder,
  x: string,
  weights: Weights,
  prefix: string,
  width: number,
  epsilon = NORM_EPSILON,
): string {
  return norm(graph, x, readNorm(weights, prefix, width), epsilon);
}

/** The residual stream x with `branch` + `bias` added to it, in fp32, and the layer norm of that. */
export function addAndNorm(
  graph: GraphBuilder,
  x: string,
  { branch, bias }: { branch: string; bias: Float32Array | undefined },
  weights: NormWeights,
  form: Pick<GraphForm, "activations" | "fusedNorms">,
): { sum: string; normed: string } {
  if (!form.fusedNorms) {
    const sum = addBranch(graph, x, addBias(graph, branch, bias, form.activations), form);
    return { sum, normed: norm(graph, sum, weights) };
  }
  const wide = form.activations === "float16" ? graph.cast(branch, "float32") : branch;
  const [scale = "", shift = ""] = normConstants(graph, weights);
  const [normed = "", , , sum = ""] = graph.contribOps(
    "SkipLayerNormalization",
    [x, wide, scale, shift, ...(bias === undefined ? [] : [graph.constant(bias, [bias.length])])],
    { epsilon: { float: NORM_EPSILON } },
    [true, false, false, true],
  );
  return { sum, normed };
}

/** A lower bound of `quickGelu`, whose minimum is -0.16357. */
export const QUICK_GELU_LOWEST = -0.164;

/** x * sigmoid(1.702 x): both CLIP's quick GELU and diffusers' "geglu-approximate". */
export function quickGelu(graph: GraphBuilder, x: string, type: FloatType = "float32"): string {
  return graph.op("Mul", [x, graph.op("Sigmoid", [graph.op("Mul", [x, graph.scalar(1.702, type)])])]);
}

export interface AttentionShape {
  readonly heads: number;
  readonly headDim: number;
  readonly fusedAttention?: boolean;
  /** Type of query, key and value [float32]. */
  readonly activations?: FloatType;
  /** Heads whose scores exist at the same time, unless attention is fused; see `headsAtOnce` [all]. */
  readonly tile?: number;
}

/** Most bytes of a row's scores at the same time. */
const TILE_BYTES = 8 * 2 ** 20;

/**
 * How many heads of attention among `length` pixels to compute at the same time, so that their scores take at most 8 MiB per row:
 * 4 of the 16 in the published model. A fused operator has no scores in memory.
 */
export function headsAtOnce(
  length: number,
  { heads, fusedAttention = false, activations = "float32" }: Omit<AttentionShape, "headDim">,
): number {
  const bytes = length ** 2 * (activations === "float16" ? 2 : 4);
  return fusedAttention ? heads : Math.min(heads, Math.max(1, Math.floor(TILE_BYTES / bytes)));
}

/**
 * Scaled dot-product attention: query [B, L, heads x headDim], key and value [B, S, heads x headDim] →
 * [B, L, heads x headDim]. `bias` is added to the scores, broadcast to [B, heads, L, S].
 */
export function attention(
  graph: GraphBuilder,
  [query, key, value]: readonly [string, string, string],
  { heads, headDim, fusedAttention = false, activations = "float32", tile = heads }: AttentionShape,
  bias?: string,
): string {
  if (fusedAttention && bias === undefined) {
    return graph.contribOp("MultiHeadAttention", [query, key, value], { num_heads: heads });
  }
  const byHead = (x: string, perm: readonly number[]): string =>
    graph.op("Transpose", [graph.op("Reshape", [x, graph.ints([0, 0, heads, headDim])])], { perm });
  const sizes = Array.from({ length: Math.ceil(heads / tile) }, (_, i) => Math.min(tile, heads - i * tile));
  const [queries, keys, values] = [
    byHead(query, [0, 2, 1, 3]),
    byHead(key, [0, 2, 3, 1]),
    byHead(value, [0, 2, 1, 3]),
  ].map((x) => divide(graph, x, sizes)) as [string[], string[], string[]];
  const scale = graph.scalar(headDim ** -0.5, activations);
  const tiles = sizes.map((_, i) => {
    // Scaled tile by tile: the runtime merges the scale into the product after it, which changes bits.
    const scaled = graph.op("Mul", [queries[i] ?? outOfBounds(), scale]);
    const scores = graph.op("MatMul", [scaled, keys[i] ?? outOfBounds()]);
    const biased = bias === undefined ? scores : graph.op("Add", [scores, bias]);
    return graph.op("MatMul", [graph.op("Softmax", [biased], { axis: -1 }), values[i] ?? outOfBounds()]);
  });
  const [whole = "", ...others] = tiles;
  const mixed = others.length === 0 ? whole : graph.op("Concat", tiles, { axis: 1 });
  return graph.op("Reshape", [
    graph.op("Transpose", [mixed], { perm: [0, 2, 1, 3] }),
    graph.ints([0, 0, heads * headDim]),
  ]);
}

/** Most parts of one Split: a WebGPU shader may be limited to eight buffers. */
const MAX_PARTS = 4;

/** x [B, sum of sizes, ...] → its parts along the second axis. */
function divide(graph: GraphBuilder, x: string, sizes: readonly number[]): string[] {
  if (sizes.length === 1) return [x];
  if (sizes.length <= MAX_PARTS) return graph.split(x, sizes, 1);
  let end = 0;
  return sizes.map((size) => {
    end += size;
    return graph.op("Slice", [x, graph.ints([end - size]), graph.ints([end]), graph.ints([1])]);
  });
}

/** x * sigmoid(x). */
export function silu(graph: GraphBuilder, x: string): string {
  return graph.op("Mul", [x, graph.op("Sigmoid", [x])]);
}

/** Group norm of x [B, channels, H, W] with `prefix.weight` and `prefix.bias`. */
export function groupNorm(
  graph: GraphBuilder,
  x: string,
  weights: Weights,
  prefix: string,
  { channels, groups, epsilon }: { channels: number; groups: number; epsilon: number },
): string {
  // As an instance norm over [B, groups, -1], which every provider has, unlike GroupNormalization.
  const grouped = graph.op("Reshape", [x, graph.ints([0, groups, -1])]);
  const ones = graph.constant(new Float32Array(groups).fill(1), [groups]);
  const zeros = graph.constant(new Float32Array(groups), [groups]);
  const normalized = graph.op("InstanceNormalization", [grouped, ones, zeros], {
    epsilon: { float: epsilon },
  });
  const restored = graph.op("Reshape", [normalized, graph.op("Shape", [x])]);
  const perChannel = [channels, 1, 1];
  const scale = graph.constant(weights.tensor(`${prefix}.weight`, [channels]), perChannel);
  const bias = graph.constant(weights.tensor(`${prefix}.bias`, [channels]), perChannel);
  return graph.op("Add", [graph.op("Mul", [restored, scale]), bias]);
}

/** Convolution of x [B, inputs, H, W] with a square kernel; `pads` in ONNX order: top, left, bottom, right. */
export function conv(
  graph: GraphBuilder,
  x: string,
  weights: Weights,
  prefix: string,
  {
    inputs,
    outputs,
    kernel,
    stride = 1,
    pads,
  }: { inputs: number; outputs: number; kernel: number; stride?: number; pads?: readonly number[] },
): string {
  const shape = [outputs, inputs, kernel, kernel];
  const side = (kernel - 1) / 2;
  return graph.op(
    "Conv",
    [
      x,
      graph.constant(weights.tensor(`${prefix}.weight`, shape), shape),
      graph.constant(weights.tensor(`${prefix}.bias`, [outputs]), [outputs]),
    ],
    { kernel_shape: [kernel, kernel], strides: [stride, stride], pads: pads ?? [side, side, side, side] },
  );
}
