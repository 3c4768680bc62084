// The int8 form of a linear layer: weights quantized per output channel, activations per row.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { LinearWeights } from "./linear-weights.ts";
import type { GraphBuilder } from "./onnx.ts";

/** Symmetric, -127 .. 127, so that negating the input changes nothing but the sign. */
const INT8_LIMIT = 127;
/** Zero point of uint8 activations: the CPU's int8 dot product multiplies unsigned by signed. */
const ACTIVATION_ZERO = 128;
/** Zero point where activations are barely negative: leaves more of the 256 levels for positive values. */
const ONE_SIDED_ZERO = 32;
const UINT8_LIMIT = 255;
/** Prevents a division by zero for a row of zeros; far below any scale that occurs. */
const MIN_SCALE = 1e-30;

export interface Int8Weights {
  /** [inputs, outputs], row-major. */
  readonly values: Int8Array;
  /** [outputs]: a weight is its int8 value times the scale of its column. */
  readonly scales: Float32Array;
}

/** Rounds each output channel to 255 levels, scaled by its own largest weight. */
export function quantizeByColumn(weight: Float32Array, inputs: number, outputs: number): Int8Weights {
  const scales = new Float32Array(outputs);
  for (let i = 0; i < weight.length; i += outputs) {
    for (let column = 0; column < outputs; column++) {
      const size = Math.abs(weight[i + column] ?? outOfBounds());
      if (size > (scales[column] ?? outOfBounds())) scales[column] = size;
    }
  }
  for (let column = 0; column < outputs; column++) {
    scales[column] = Math.max((scales[column] ?? outOfBounds()) / INT8_LIMIT, MIN_SCALE);
  }
  const values = new Int8Array(inputs * outputs);
  for (let i = 0; i < weight.length; i += outputs) {
    for (let column = 0; column < outputs; column++) {
      values[i + column] = Math.round(
        (weight[i + column] ?? outOfBounds()) / (scales[column] ?? outOfBounds()),
      );
    }
  }
  return { values, scales };
}

/** The weights [inputs, outputs] that int8 products effectively multiply with. */
export function roundedWeights({ weight, inputs, outputs }: LinearWeights): Float32Array {
  const { values, scales } = quantizeByColumn(weight, inputs, outputs);
  return Float32Array.from(values, (value, i) => value * (scales[i % outputs] ?? outOfBounds()));
}

/**
 * The [B, length] rows that some layers of a graph share: what quantizing them takes apart from the values is computed
 * once for all of these layers.
 */
export class RowGroup {
  readonly #graph: GraphBuilder;
  readonly #length: number | string;
  readonly #shapes = new Map<number, string>();
  readonly #zeros = new Map<number, string>();

  /** `length` is a number or, if known at run time only, the name of an int64 value [2] that holds B and length. */
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

  /** The zero point `zero`, repeated for each row; `scales` is any value [B x length]. */
  zeros(zero: number, scales: string): string {
    const known = this.#zeros.get(zero);
    if (known !== undefined) return known;
    const zeros = this.#graph.op("Expand", [zeroPoint(this.#graph, zero), this.#graph.op("Shape", [scales])]);
    this.#zeros.set(zero, zeros);
    return zeros;
  }
}

const zeroPoint = (graph: GraphBuilder, zero: number): string => graph.constant(Uint8Array.of(zero), []);

/** Activations in int8: (`values` [B, length, inputs] - `zero`) x `scales` [B, length, 1]. */
export interface Int8Rows {
  readonly values: string;
  readonly scales: string;
  readonly zero: number;
}

/**
 * x [B, length, inputs] in int8. Each row has its own scale, derived from its own largest value: a single scale for the
 * whole input, as in onnxruntime's dynamic quantization, would make an image depend on its batch mates. If no value can
 * be below `lowest`, a negative number near zero, positive values get most of the levels.
 */
export function quantizeActivations(
  graph: GraphBuilder,
  x: string,
  { inputs, group, lowest }: { inputs: number; group: RowGroup; lowest?: number | undefined },
): Int8Rows {
  const isOneSided = lowest !== undefined;
  const zero = isOneSided ? ONE_SIDED_ZERO : ACTIVATION_ZERO;
  const steps = isOneSided ? UINT8_LIMIT - ONE_SIDED_ZERO : INT8_LIMIT;
  const minScale = isOneSided ? -lowest / ONE_SIDED_ZERO : MIN_SCALE;
  const sizes = isOneSided ? x : graph.op("Abs", [x]);
  const largest = graph.op("ReduceMax", [sizes], { axes: [-1], keepdims: 1 });
  const scales = graph.op("Max", [
    graph.op("Mul", [largest, graph.scalar(1 / steps)]),
    graph.scalar(minScale),
  ]);
  // QuantizeLinear takes one scale per index of a single axis, so the rows must form one axis.
  const flatScales = graph.op("Reshape", [scales, graph.ints([-1])]);
  const rows = graph.op("Reshape", [x, graph.ints([-1, inputs])]);
  const values = graph.op("QuantizeLinear", [rows, flatScales, group.zeros(zero, flatScales)], { axis: 0 });
  return { values: graph.op("Reshape", [values, group.shape(inputs)]), scales, zero };
}

/** x → [B, length, outputs] with int8 products, without the layer's bias. */
export function int8Product(
  graph: GraphBuilder,
  { values, scales, zero }: Int8Rows,
  layer: LinearWeights,
): string {
  const { inputs, outputs } = layer;
  const weight = quantizeByColumn(layer.weight, inputs, outputs);
  const product = graph.contribOp("MatMulIntegerToFloat", [
    values,
    graph.constant(weight.values, [inputs, outputs]),
    // The operator takes a single scale for its input; those of the rows are applied below.
    graph.scalar(1),
    graph.constant(weight.scales, [outputs]),
    zeroPoint(graph, zero),
  ]);
  return graph.op("Mul", [product, scales]);
}
