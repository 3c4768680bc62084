// From the VQ encoder's features to tokens: the quantizer of the VQ model, and its map of codes.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";

/** Features [C, L] → tokens [L]. */
export type Quantizer = (features: Float32Array) => Uint16Array;

/** Throws a CheckpointError if its weights cannot be read. */
export function readQuantizer(checkpoint: DiffusersCheckpoint): Quantizer {
  const { num_vq_embeddings: codes, vq_embed_dim: width, quantizer, code_map: map } = checkpoint.vqvae;
  const weights = checkpoint.weights("vqvae");
  try {
    const best =
      quantizer === "gumbel"
        ? largestOutputs(
            weights.tensor("quantize.proj.weight", [codes, width]),
            weights.tensor("quantize.proj.bias", [codes]),
          )
        : nearestRows(weights.tensor("quantize.embedding.weight", [codes, width]), width);
    if (map === undefined) return best;
    return (features) => best(features).map((code) => map[code] ?? outOfBounds());
  } finally {
    weights.close();
  }
}

/** The nearest row of the codebook [K, C], the lowest index on ties. */
const nearestRows = (codebook: Float32Array, width: number): Quantizer =>
  lowest(codebook.length / width, width, (code, feature) => {
    let distance = 0;
    for (let i = 0; i < width; i++) {
      distance += (feature(i) - (codebook[code * width + i] ?? outOfBounds())) ** 2;
    }
    return distance;
  });

/**
 * The largest output of a layer with weights [K, C], the lowest index on ties. The original adds Gumbel noise to them, with
 * which two encodings of an image differ.
 */
const largestOutputs = (weight: Float32Array, bias: Float32Array): Quantizer => {
  const width = weight.length / bias.length;
  return lowest(bias.length, width, (code, feature) => {
    let sum = bias[code] ?? outOfBounds();
    for (let i = 0; i < width; i++) sum += feature(i) * (weight[code * width + i] ?? outOfBounds());
    return -sum;
  });
};

/** The code with the lowest score for each of the L pixels of features [C, L]. */
const lowest =
  (
    codes: number,
    width: number,
    scoreOf: (code: number, feature: (i: number) => number) => number,
  ): Quantizer =>
  (features) => {
    const pixels = features.length / width;
    return Uint16Array.from({ length: pixels }, (_, pixel) => {
      const feature = (i: number): number => features[i * pixels + pixel] ?? outOfBounds();
      let best = 0;
      let bestScore = Infinity;
      for (let code = 0; code < codes; code++) {
        const score = scoreOf(code, feature);
        if (score < bestScore) {
          bestScore = score;
          best = code;
        }
      }
      return best;
    });
  };
