// int8 weights in a safetensors file: `NAME` I8 [outputs, inputs] and `NAME_scale` F32 [outputs], one scale per row.

import { CheckpointError } from "../errors.ts";
import type { Component } from "./components.ts";
import type { TensorEntry } from "./tensor.ts";

const SCALE_ENDING = "_scale";
export const scaleName = (name: string): string => `${name}${SCALE_ENDING}`;

const INT8_LIMIT = 127;
/** Keeps a row of zeros from being divided by zero. */
const MIN_SCALE = 1e-30;

/** The weights that the graphs multiply in int8 (graph/quantize.ts); all others stay floats. */
const INT8_WEIGHTS: Readonly<Partial<Record<Component, RegExp>>> = {
  transformer:
    /\.(?:attn1\.to_[qkv]|attn2\.to_q|attn[12]\.to_out\.0|ff\.net\.(?:0\.proj|2))\.weight$|^out\.weight$/,
  text_encoder: /\.(?:self_attn\.(?:q|k|v|out)_proj|mlp\.fc[12])\.weight$/,
};

export const isInt8Weight = (component: Component, name: string): boolean =>
  INT8_WEIGHTS[component]?.test(name) ?? false;

/** Gives the int8 weights among `entries` their scales, which are then no tensors of their own. */
export function attachScales(path: string, entries: readonly TensorEntry[]): Map<string, TensorEntry> {
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  for (const entry of entries) {
    const scale = byName.get(scaleName(entry.name));
    if (entry.dtype !== "I8" || scale === undefined) continue;
    if (entry.shape.length !== 2 || scale.dtype !== "F32" || scale.shape.join() !== String(entry.shape[0])) {
      throw new CheckpointError(
        path,
        `tensor ${scale.name} is ${scale.dtype} [${scale.shape.join(", ")}], ` +
          `where the scales of an int8 tensor [${entry.shape.join(", ")}] are F32, one for each row`,
      );
    }
    byName.delete(scale.name);
    byName.set(entry.name, { ...entry, scale });
  }
  return byName;
}

/** Rounds each row of `weight` [rows, length / rows] to 255 levels of its own largest value. */
export function quantizeWeight(
  weight: Float32Array,
  rows: number,
): { values: Int8Array<ArrayBuffer>; scales: Float32Array<ArrayBuffer> } {
  const length = weight.length / rows;
  const values = new Int8Array(weight.length);
  const scales = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const begin = row * length;
    // Plain loops: over a billion weights, callbacks take minutes.
    let largest = 0;
    for (let i = begin; i < begin + length; i++) largest = Math.max(largest, Math.abs(weight[i] ?? 0));
    const scale = Math.fround(Math.max(largest / INT8_LIMIT, MIN_SCALE));
    scales[row] = scale;
    for (let i = begin; i < begin + length; i++) values[i] = Math.round((weight[i] ?? 0) / scale);
  }
  return { values, scales };
}

/** The fp32 weight that `values` [rows, length / rows] stand for. */
export function dequantizeWeight(values: Int8Array, scales: Float32Array): Float32Array<ArrayBuffer> {
  const weight = new Float32Array(values.length);
  const length = values.length / scales.length;
  for (const [row, scale] of scales.entries()) {
    for (let i = row * length; i < (row + 1) * length; i++) weight[i] = (values[i] ?? 0) * scale;
  }
  return weight;
}
