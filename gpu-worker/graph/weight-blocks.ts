// Weight-only quantization: a linear layer whose weights are rounded in blocks of one column, for fp16 or fp32 activations.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { LinearWeights } from "./linear-weights.ts";
import type { FloatType, GraphBuilder } from "./onnx.ts";

/** Weights of a column that share a scale; the size for which all providers have kernels. */
const BLOCK = 32;

export interface BlockWeights {
  /** [outputs, blocks, BLOCK x bits / 8]: rounded weights plus 2^(bits - 1), two of 4 bits per byte, the first in the low half. */
  readonly values: Uint8Array;
  /** [outputs, blocks]: a weight is its rounded value times the scale of its block. */
  readonly scales: Float32Array;
  readonly blocks: number;
}

/**
 * Rounds a matrix [inputs, outputs] in blocks of `BLOCK` consecutive inputs of a column, the last one padded with zeros. The
 * levels are symmetric around zero except for one more below it, and a block's scale is such that its largest weight by
 * magnitude becomes that lowest level: at 4 bits, where levels are few, the block then uses all 16.
 */
export function quantizeBlocks({ weight, inputs, outputs }: LinearWeights, bits: 8 | 4): BlockWeights {
  const blocks = Math.ceil(inputs / BLOCK);
  const zero = 2 ** (bits - 1);
  const rowBytes = (BLOCK * bits) / 8;
  const values = new Uint8Array(outputs * blocks * rowBytes);
  const scales = new Float32Array(outputs * blocks);
  for (let column = 0; column < outputs; column++) {
    for (let block = 0; block < blocks; block++) {
      const from = block * BLOCK;
      const to = Math.min(from + BLOCK, inputs);
      let extreme = 0;
      for (let i = from; i < to; i++) {
        const value = weight[i * outputs + column] ?? outOfBounds();
        if (Math.abs(value) > Math.abs(extreme)) extreme = value;
      }
      const at = column * blocks + block;
      // As the graph reads it: fp16, in which a scale of normal weights has 11 bits.
      const scale = Math.f16round(extreme / -zero);
      scales[at] = scale;
      for (let i = 0; i < BLOCK; i++) {
        const value = from + i < to ? (weight[(from + i) * outputs + column] ?? outOfBounds()) : 0;
        const level = scale === 0 ? 0 : Math.round(value / scale);
        const stored = Math.min(Math.max(level, -zero), zero - 1) + zero;
        const byte = at * rowBytes + (i * bits) / 8;
        if (bits === 8) values[byte] = stored;
        else
          values[Math.floor(byte)] =
            (values[Math.floor(byte)] ?? outOfBounds()) | (stored << (i % 2 === 0 ? 0 : 4));
      }
    }
  }
  return { values, scales, blocks };
}

/** x [..., inputs] → [..., outputs] in the type of x, without the layer's bias. */
export function blockProduct(
  graph: GraphBuilder,
  x: string,
  layer: LinearWeights,
  { bits, activations }: { bits: 8 | 4; activations: FloatType },
): string {
  const { values, scales, blocks } = quantizeBlocks(layer, bits);
  return graph.contribOp(
    "MatMulNBits",
    [
      x,
      graph.constant(values, [layer.outputs, blocks, (BLOCK * bits) / 8]),
      graph.floats(scales, [layer.outputs, blocks], activations),
    ],
    { K: layer.inputs, N: layer.outputs, bits, block_size: BLOCK },
  );
}

/** The matrix [inputs, outputs] that `quantizeBlocks` stands for. */
export function dequantizeBlocks(
  { values, scales, blocks }: BlockWeights,
  { inputs, outputs }: Pick<LinearWeights, "inputs" | "outputs">,
  bits: 8 | 4,
): Float32Array {
  const zero = 2 ** (bits - 1);
  const rowBytes = (BLOCK * bits) / 8;
  const weight = new Float32Array(inputs * outputs);
  for (let column = 0; column < outputs; column++) {
    for (let i = 0; i < inputs; i++) {
      const at = column * blocks + Math.floor(i / BLOCK);
      const place = ((i % BLOCK) * bits) / 8;
      const byte = values[at * rowBytes + Math.floor(place)] ?? outOfBounds();
      const stored = bits === 8 ? byte : i % 2 === 0 ? byte & 15 : byte >> 4;
      weight[i * outputs + column] = (stored - zero) * (scales[at] ?? outOfBounds());
    }
  }
  return weight;
}
