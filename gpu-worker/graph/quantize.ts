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
 * rows [R, inputs] → [R, outputs] with int8 products. Every row has its own scale, taken from its own largest
 * value: one scale for the whole input, as onnxruntime's dynamic quantization has it, would make an image depend
 * on its batch mates.
 */
export function int8Product(graph: GraphBuilder, rows: string, layer: LinearWeights): string {
  const { inputs, outputs } = layer;
  const { values, scales } = quantizeByColumn(layer.weight, inputs, outputs);
  const largest = graph.op("ReduceMax", [graph.op("Abs", [rows])], { axes: [1], keepdims: 0 });
  const rowScale = graph.op("Max", [
    graph.op("Mul", [largest, graph.scalar(1 / INT8_LIMIT)]),
    graph.scalar(MIN_SCALE),
  ]);
  const zero = graph.constant(Uint8Array.of(ACTIVATION_ZERO), []);
  const zeros = graph.op("Expand", [zero, graph.op("Shape", [rowScale])]);
  const quantized = graph.op("QuantizeLinear", [rows, rowScale, zeros], { axis: 0 });
  const product = graph.contribOp("MatMulIntegerToFloat", [
    quantized,
    graph.constant(values, [inputs, outputs]),
    // The product takes one scale for all of its input; the rows' own follow below.
    graph.scalar(1),
    graph.constant(scales, [outputs]),
    zero,
  ]);
  const scaled = graph.op("Mul", [product, graph.op("Unsqueeze", [rowScale, graph.ints([1])])]);
  if (layer.bias === undefined) return scaled;
  return graph.op("Add", [scaled, graph.constant(layer.bias, [outputs])]);
}
