// Weights of linear layers, in the layout in which the graphs multiply with them.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { Weights } from "../checkpoint/diffusers-layout.ts";

/** [rows, columns] → [columns, rows]: PyTorch stores linear weights by output, MatMul takes them by input. */
function transpose(matrix: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(matrix.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      result[column * rows + row] = matrix[row * columns + column] ?? outOfBounds();
    }
  }
  return result;
}

/** One or more linear layers with the same input, side by side: [inputs, sum of outputs] weights and their biases. */
export interface LinearWeights {
  readonly weight: Float32Array;
  readonly bias: Float32Array | undefined;
  readonly inputs: number;
  readonly outputs: number;
}

/** Reads `prefix.weight` of shape [outputs, inputs] and, if there is one, `prefix.bias`. */
export function readLinear(weights: Weights, prefix: string, inputs: number, outputs: number): LinearWeights {
  return {
    weight: transpose(weights.tensor(`${prefix}.weight`, [outputs, inputs]), outputs, inputs),
    bias: weights.has(`${prefix}.bias`) ? weights.tensor(`${prefix}.bias`, [outputs]) : undefined,
    inputs,
    outputs,
  };
}

/** Merges linear layers with the same input into one, so that a single matrix product computes them all. */
export function concatLinear(layers: readonly LinearWeights[]): LinearWeights {
  const inputs = layers[0]?.inputs ?? outOfBounds();
  const outputs = layers.reduce((sum, layer) => sum + layer.outputs, 0);
  const weight = new Float32Array(inputs * outputs);
  const bias = new Float32Array(outputs);
  let offset = 0;
  for (const layer of layers) {
    for (let row = 0; row < inputs; row++) {
      weight.set(
        layer.weight.subarray(row * layer.outputs, (row + 1) * layer.outputs),
        row * outputs + offset,
      );
    }
    if (layer.bias !== undefined) bias.set(layer.bias, offset);
    offset += layer.outputs;
  }
  return {
    weight,
    bias: layers.some((layer) => layer.bias !== undefined) ? bias : undefined,
    inputs,
    outputs,
  };
}
