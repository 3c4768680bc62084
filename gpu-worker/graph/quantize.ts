// The int8 form of a linear layer: weights by output channel, activations by row.

import type { LinearWeights } from "./layers.ts";
import type { GraphBuilder } from "./onnx.ts";

/** Symmetric: -127 .. 127, so that a sign change of the input changes nothing but the sign. */
const INT8_LIMIT = 127;
/** uint8 activations with this zero point: the CPU's int8 dot product takes unsigned times signed. */
const ACTIVATION_ZERO = 128;
/** Keeps a row of zeros from being divided by zero; far below any scale that occurs. */
const MIN_SCALE = 1e-30;

export interface Int8Weights {
  /** [inputs, outputs], row-major. */
  readonly values: Int8Array;
  /** [outputs]: a weight is its value times the scale of its column. */
  readonly scales: Float32Array;
}

/** Rounds each output channel to 255 levels of its own largest weight. */
export function quantizeByColumn(weight: Float32Array, inputs: number, outputs: number): Int8Weights {
  const scales = new Float32Array(outputs);
  for (let i = 0; i < weight.length; i += outputs) {
    for (let column = 0; column < outputs; column++) {
      const size = Math.abs(weight[i + column] ?? 0);
      if (size > (scales[column] ?? 0)) scales[column] = size;
    }
  }
  for (let column = 0; column < outputs; column++) {
    scales[column] = Math.max((scales[column] ?? 0) / INT8_LIMIT, MIN_SCALE);
  }
  const values = new Int8Array(inputs * outputs);
  for (let i = 0; i < weight.length; i += outputs) {
    for (let column = 0; column < outputs; column++) {
      values[i + column] = Math.round((weight[i + column] ?? 0) / (scales[column] ?? 1));
    }
  }
  return { values, scales };
}

/**
 * The rows that some layers of a graph have in common, [B, length] of them: what they need beside their values is
 * made once for all of these layers.
 */
export class RowGroup {
  readonly #graph: GraphBuilder;
  readonly #length: number | string;
  readonly #shapes = new Map<number, string>();
  #zeros: string | undefined;

  /** `length` is a number, or the name of an int64 value [2], B and length, where it is known at run time only. */
  constructor(graph: GraphBuilder, length: number | string) {
    this.#graph = graph;
    this.#length = length;
  }

  /** The shape [B, length, width] as a value. */
  shape(width: number): string {
    const known = this.#shapes.get(width);
    if (known !== undefined) return known;
    const length = this.#length;
    const shape =
      typeof length === "number"
        ? this.#graph.ints([-1, length, width])
        : this.#graph.op("Concat", [length, this.#graph.ints([width])], { axis: 0 });
    this.#shapes.set(width, shape);
    return shape;
  }

  /** The zero point of each row; `scales` is any value [B x length]. */
  zeros(scales: string): string {
    this.#zeros ??= this.#graph.op("Expand", [
      this.#graph.constant(Uint8Array.of(ACTIVATION_ZERO), []),
      this.#graph.op("Shape", [scales]),
    ]);
    return this.#zeros;
  }
}

/** Activations in int8: `values` [B, length, inputs] times `scales` [B, length, 1]. */
export interface Int8Rows {
  readonly values: string;
  readonly scales: string;
}

/**
 * x [B, length, inputs] in int8. Every row has its own scale, taken from its own largest value: one scale for the whole
 * input, as onnxruntime's dynamic quantization has it, would make an image depend on its batch mates.
 */
export function quantizeRows(graph: GraphBuilder, x: string, inputs: number, group: RowGroup): Int8Rows {
  const largest = graph.op("ReduceMax", [graph.op("Abs", [x])], { axes: [-1], keepdims: 1 });
  const scales = graph.op("Max", [
    graph.op("Mul", [largest, graph.scalar(1 / INT8_LIMIT)]),
    graph.scalar(MIN_SCALE),
  ]);
  // QuantizeLinear takes a scale for each index of one axis, so the rows have to be one axis.
  const flatScales = graph.op("Reshape", [scales, graph.ints([-1])]);
  const rows = graph.op("Reshape", [x, graph.ints([-1, inputs])]);
  const values = graph.op("QuantizeLinear", [rows, flatScales, group.zeros(flatScales)], { axis: 0 });
  return { values: graph.op("Reshape", [values, group.shape(inputs)]), scales };
}

/** x → [B, length, outputs] with int8 products, without the layer's bias. */
export function int8Product(graph: GraphBuilder, { values, scales }: Int8Rows, layer: LinearWeights): string {
  const { inputs, outputs } = layer;
  const weight = quantizeByColumn(layer.weight, inputs, outputs);
  const product = graph.contribOp("MatMulIntegerToFloat", [
    values,
    graph.constant(weight.values, [inputs, outputs]),
    // The product takes one scale for all of its input; the rows' own follow below.
    graph.scalar(1),
    graph.constant(weight.scales, [outputs]),
    graph.constant(Uint8Array.of(ACTIVATION_ZERO), []),
  ]);
  return graph.op("Mul", [product, scales]);
}
