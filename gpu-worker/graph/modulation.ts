// AdaLayerNorm's scale and shift as a table by layer and timestep.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { TransformerConfig } from "../checkpoint/config.ts";
import type { Weights } from "../checkpoint/diffusers-layout.ts";
import type { GraphBuilder } from "./onnx.ts";

/** For layer i and its norm 1 or 2 (index 0 or 1): 1 + scale and shift, each [B, 1, D]. */
export type Modulation = (layer: number, norm: 0 | 1) => readonly [string, string];

/**
 * AdaLayerNorm's scale and shift depend on layer and timestep only, so linear(silu(emb[t])) is tabulated here.
 * `timestep` [N] is that of each image, `image` [B] that of each row: returns the first layer's modulation by image, and
 * that of all layers by row. A layer has `norms` of these norms, numbered from 1 [2]. In graphs for GPUs each part is taken
 * by itself: as a WebGPU shader may write to no more than eight buffers, none could split them all.
 */
export function buildModulation(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  {
    timestep,
    image,
    drawsOnDevice,
    norms = 2,
  }: { timestep: string; image: string; drawsOnDevice: boolean; norms?: number },
): { byImage: Modulation; byRow: Modulation } {
  const width = config.num_attention_heads * config.attention_head_dim;
  const steps = config.num_embeds_ada_norm;
  const parts = 2 * norms;
  const columns = parts * config.num_layers * width;
  const table = new Float32Array(steps * columns);
  for (let i = 0; i < config.num_layers; i++) {
    for (let norm = 0; norm < norms; norm++) {
      const prefix = `transformer_blocks.${i}.norm${norm + 1}`;
      const embedding = weights.tensor(`${prefix}.emb.weight`, [steps, width]);
      const part = modulationTable(weights, prefix, embedding, width);
      for (let t = 0; t < steps; t++) {
        table.set(
          part.subarray(t * 2 * width, (t + 1) * 2 * width),
          t * columns + (norms * i + norm) * 2 * width,
        );
      }
    }
  }
  const ofImages = graph.op("Gather", [graph.constant(table, [steps, 1, columns]), timestep], { axis: 0 });
  const ofRows = graph.op("Gather", [ofImages, image], { axis: 0 });
  if (drawsOnDevice) {
    const from = (rows: string): Modulation => {
      const all = graph.op("Reshape", [rows, graph.ints([-1, columns / width, width])]);
      return (layer, norm) => {
        const part = (i: number): string => graph.op("Gather", [all, graph.ints([i])], { axis: 1 });
        const first = parts * layer + 2 * norm;
        return [part(first), part(first + 1)];
      };
    };
    return { byImage: from(ofImages), byRow: from(ofRows) };
  }
  const partsOfLayer = new Array<number>(parts).fill(width);
  const rest = columns - parts * width;
  const firstLayer = graph.split(ofImages, rest === 0 ? partsOfLayer : [...partsOfLayer, rest], 2);
  const allLayers = graph.split(ofRows, new Array<number>(parts * config.num_layers).fill(width), 2);
  const from =
    (names: readonly string[]): Modulation =>
    (layer, norm) => {
      const first = parts * layer + 2 * norm;
      return [names[first] ?? outOfBounds(), names[first + 1] ?? outOfBounds()];
    };
  return { byImage: from(firstLayer), byRow: from(allLayers) };
}

/** [N, 2 x width]: 1 + scale, then shift, of one AdaLayerNorm for each row of `embedding` [N, width]. */
export function modulationTable(
  weights: Weights,
  prefix: string,
  embedding: Float32Array,
  width: number,
): Float32Array {
  const steps = embedding.length / width;
  const active = embedding.map((value) => value / (1 + Math.exp(-value)));
  const weight = weights.tensor(`${prefix}.linear.weight`, [2 * width, width]);
  const bias = weights.tensor(`${prefix}.linear.bias`, [2 * width]);
  const table = new Float32Array(steps * 2 * width);
  for (let t = 0; t < steps; t++) {
    for (let row = 0; row < 2 * width; row++) {
      let sum = bias[row] ?? outOfBounds();
      for (let i = 0; i < width; i++)
        sum += (weight[row * width + i] ?? outOfBounds()) * (active[t * width + i] ?? outOfBounds());
      table[t * 2 * width + row] = row < width ? 1 + sum : sum;
    }
  }
  return table;
}
