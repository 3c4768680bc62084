// What a class does in the transformer: scale and shift of each layer's second norm.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { TransformerConfig } from "../../checkpoint/config.ts";
import type { Weights } from "../../checkpoint/diffusers-layout.ts";
import { block, transformerWidth } from "../cross-attention.ts";
import { modulationTable } from "../modulation.ts";

/** Of one class, [2 x layers, D]: 1 + scale, then shift, of each layer's second norm. `label` null is "no class". */
export function classModulation(
  weights: Weights,
  config: TransformerConfig,
  label: number | null,
): Float32Array<ArrayBuffer> {
  const width = transformerWidth(config);
  const { num_layers: layers, num_classes: labels, null_class } = config;
  const rows = null_class === "learned" ? labels + 1 : labels;
  const result = new Float32Array(2 * layers * width);
  for (let i = 0; i < layers; i++) {
    const prefix = `${block(i)}.norm3`;
    const embedding = weights.tensor(`${prefix}.emb.weight`, [rows, width]);
    const row =
      label === null && null_class === "mean"
        ? meanRow(embedding, width)
        : embedding.subarray((label ?? labels) * width, ((label ?? labels) + 1) * width);
    result.set(modulationTable(weights, prefix, row, width), 2 * i * width);
  }
  return result;
}

function meanRow(matrix: Float32Array, width: number): Float32Array {
  const sums = new Float64Array(width);
  for (const [i, value] of matrix.entries()) sums[i % width] = (sums[i % width] ?? outOfBounds()) + value;
  const rows = matrix.length / width;
  return Float32Array.from(sums, (sum) => sum / rows);
}
