// Writes a checkpoint folder, one safetensors file per component, from weights in any layout; it appears when complete.

import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { CheckpointError } from "./errors.ts";
import type { Quantization } from "../graph/form.ts";
import { withFolderLock } from "../util/folder-lock.ts";
import { isInt8Weight, quantizeWeight, scaleName } from "./weights/int8.ts";
import { type PlannedTensor, writeSafetensors } from "./weights/safetensors-writer.ts";
import {
  elementCount,
  type FloatDtype,
  fromFloat32,
  isWeight,
  type TensorEntry,
  type TensorSource,
} from "./weights/tensor.ts";
import { safetensorsName } from "./weights/weight-files.ts";
import type { Component } from "./weights/components.ts";

/** What fp16 rounds to infinity: halfway between its largest number and the next power of two. */
const FP16_OVERFLOW = 65_520;

export interface WriteOptions {
  readonly dtype: FloatDtype;
  /** Replaces a checkpoint that is at the destination. */
  readonly force?: boolean;
  /** int8 stores the weights that are multiplied in int8 as such ["none"]. */
  readonly quantization?: Quantization;
  /** Parameters written so far and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface SourceComponent {
  readonly component: Component;
  /** Opens its weights, in the names of diffusers' layout. */
  readonly open: () => TensorSource;
  readonly parameters: number;
}

export interface CheckpointSource {
  readonly components: readonly SourceComponent[];
  /** Writes configs and tables to the folder. */
  readonly writeTexts: (folder: string) => void;
  /** Called with the complete folder before it is put in place; what it throws is thrown. */
  readonly check?: (folder: string) => void;
}

/** The number of weights in a file. */
export const parametersOf = ({ entries }: TensorSource): number =>
  [...entries.values()].filter(isWeight).reduce((sum, { shape }) => sum + elementCount(shape), 0);

/**
 * Writes the folder `target`, an absolute path. Throws a CheckpointError if it is taken: with `force`, by something other
 * than a checkpoint.
 */
export async function writeCheckpoint(
  source: CheckpointSource,
  target: string,
  options: WriteOptions,
): Promise<void> {
  // Makes the folder that the target goes into.
  await withFolderLock(target, () => {
    checkTarget(target, options.force ?? false);
    write(source, target, options);
  });
}

function write(source: CheckpointSource, target: string, options: WriteOptions): void {
  const building = mkdtempSync(join(dirname(target), `.${basename(target)}.tmp-`));
  try {
    source.writeTexts(building);
    const total = source.components.reduce((sum, { parameters }) => sum + parameters, 0);
    let done = 0;
    for (const component of source.components) {
      writeComponent(component, building, options, (parameters) => {
        done += parameters;
        options.onProgress?.(done, total);
      });
    }
    source.check?.(building);
    // A temporary folder is its owner's alone.
    chmodSync(building, 0o777 & ~process.umask());
    putInPlace(building, target);
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
}

function checkTarget(target: string, force: boolean): void {
  if (!existsSync(target) || readdirSync(target).length === 0) return;
  if (!force) throw new CheckpointError(target, "already exists and is not empty; --force replaces it");
  // What is replaced is deleted: only what is a checkpoint itself.
  if (!existsSync(join(target, "model_index.json"))) {
    throw new CheckpointError(target, "is not a checkpoint, so --force will not replace it");
  }
}

interface Plan extends PlannedTensor {
  /** The tensor of the source that it is made of. */
  readonly source: string;
}

/** An int8 weight is two tensors, the values and their scales. */
function planTensors(entries: Iterable<TensorEntry>, component: Component, options: WriteOptions): Plan[] {
  return [...entries].filter(isWeight).flatMap(({ name, shape }): Plan[] => {
    if (options.quantization !== "int8" || !isInt8Weight(component, name)) {
      return [{ name, shape, dtype: options.dtype, source: name }];
    }
    return [
      { name, shape, dtype: "I8", source: name },
      { name: scaleName(name), shape: shape.slice(0, 1), dtype: "F32", source: name },
    ];
  });
}

function writeComponent(
  { component, open }: SourceComponent,
  building: string,
  options: WriteOptions,
  onWritten: (parameters: number) => void,
): void {
  const source = open();
  try {
    mkdirSync(join(building, component), { recursive: true });
    const plan = planTensors(source.entries.values(), component, options);
    let scales = new Float32Array();
    writeSafetensors(join(building, component, safetensorsName(component)), plan, (tensor) => {
      // The scales follow the values they were made with.
      if (tensor.name !== tensor.source) return new Uint8Array(scales.buffer);
      const values = source.read(tensor.source);
      onWritten(values.length);
      if (tensor.dtype === "I8") {
        const quantized = quantizeWeight(values, tensor.shape[0] ?? outOfBounds());
        scales = quantized.scales;
        return new Uint8Array(quantized.values.buffer);
      }
      if (options.dtype === "F16") checkRange(source.path, tensor.name, values);
      return fromFloat32(values, options.dtype);
    });
  } finally {
    source.close();
  }
}

function checkRange(path: string, name: string, values: Float32Array): void {
  // By index: over a billion weights, find() takes minutes.
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? outOfBounds();
    if (Math.abs(value) >= FP16_OVERFLOW && Number.isFinite(value)) {
      throw new CheckpointError(path, `tensor ${name} holds ${value}, which fp16 cannot hold; bf16 can`);
    }
  }
}

/** A folder that is replaced is moved away first: a folder can be renamed over an empty one only. */
function putInPlace(building: string, target: string): void {
  const aside = mkdtempSync(`${building}-old-`);
  const replaced = join(aside, basename(target));
  try {
    if (existsSync(target)) renameSync(target, replaced);
    renameSync(building, target);
  } catch (error) {
    if (existsSync(replaced) && !existsSync(target)) renameSync(replaced, target);
    throw error;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}
