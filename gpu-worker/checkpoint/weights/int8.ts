// int8 weights in a safetensors file: `NAME` I8 [outputs, inputs] and `NAME_scale` F32 [outputs], one scale per row.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { CheckpointError } from "../errors.ts";
import type { Component } from "./components.ts";
import type { TensorEntry } from "./tensor.ts";

const SCALE_ENDING = "_scale";
export const scaleName = (name: string): string => `${name}${SCALE_ENDING}`;

const INT8_LIMIT = 127;
/** Prevents a division by zero for a row of zeros. */
const MIN_SCALE = 1e-30;

/** The weights that the graphs multiply in int8 (graph/quantize.ts); all others remain floats. */
const INT8_WEIGHTS: Readonly<Partial<Record<Component, RegExp>>> = {
  transformer:
    /\.(?:attn1\.to_[qkv]|attn2\.to_q|attn[12]\.to_out\.0|ff\.net\.(?:0\.proj|2))\.weight$|^out\.weight$/,
  text_encoder: /\.(?:self_attn\.(?:q|k|v|out)_proj|mlp\.fc[12])\.weight$/,
};

export const isInt8Weight = (component: Component, name: string): boolean =>
  INT8_WEIGHTS[component]?.test(name) ?? false;

/** Attaches their scales to the int8 weights among `entries`; the scales are then no longer tensors of their own. */
export function attachScales(path: string, entries: readonly TensorEntry[]): Map<string, TensorEntry> {
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  for (const entry of entries) {
    const scale = byName.get(scaleName(entry.name));
    if (entry.dtype !== "I8" || scale === undefined) continue;
    if (entry.shape.length !== 2 || scale.dtype !== "F32" || scale.shape.join() !== String(entry.shape[0])) {
      throw new CheckpointError(
        path,
        `tensor ${scale.name} is ${scale.dtype} [${scale.shape.join(", ")}], ` +
          `but the scales of an int8 tensor [${entry.shape.join(", ")}] must be F32, one per row`,
      );
    }
    byName.delete(scale.name);
    byName.set(entry.name, { ...entry, scale });
  }
  return byName;
}

/** Rounds each row of `weight` [rows, length / rows] to 255 levels, scaled by its own largest value. */
export function quantizeWeight(
  weight: Float32Array,
  rows: number,
): { values: Int8Array<ArrayBuffer>; scales: Float32Array<ArrayBuffer> } {
  const length = weight.length / rows;
  const values = new Int8Array(weight.length);
  const scales = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const begin = row * length;
    // Plain loops: over a billion weights, callbacks would take minutes.
    let largest = 0;
    for (let i = begin; i < begin + length; i++) {
      largest = Math.max(largest, Math.abs(weight[i] ?? outOfBounds()));
    }
    const scale = Math.fround(Math.max(largest / INT8_LIMIT, MIN_SCALE));
    scales[row] = scale;
    for (let i = begin; i < begin + length; i++) {
      values[i] = Math.round((weight[i] ?? outOfBounds()) / scale);
    }
  }
  return { values, scales };
}

/** The fp32 weight that `values` [rows, length / rows] represent. */
export function dequantizeWeight(values: Int8Array, scales: Float32Array): Float32Array<ArrayBuffer> {
  const weight = new Float32Array(values.length);
  const length = values.length / scales.length;
  for (const [row, scale] of scales.entries()) {
    for (let i = row * length; i < (row + 1) * length; i++) {
      weight[i] = (values[i] ?? outOfBounds()) * scale;
    }
  }
  return weight;
}
