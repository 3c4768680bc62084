// Rewrites a checkpoint folder, of any weight files that are read, as one safetensors file per component.

import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { DiffusersCheckpoint } from "./diffusers-layout.ts";
import { CheckpointError } from "./errors.ts";
import type { CheckpointFolder } from "./files/folder.ts";
import { onDisk } from "./files/open.ts";
import type { Quantization } from "../graph/form.ts";
import { withFolderLock } from "../util/folder-lock.ts";
import { inspectCheckpoint, type Inspection } from "./inspect.ts";
import { presentTexts } from "./model-files.ts";
import { isInt8Weight, quantizeWeight, scaleName } from "./weights/int8.ts";
import { type PlannedTensor, writeSafetensors } from "./weights/safetensors-writer.ts";
import { type FloatDtype, fromFloat32, isWeight, type TensorEntry } from "./weights/tensor.ts";
import { openWeights, safetensorsName } from "./weights/weight-files.ts";
import type { Component } from "./weights/components.ts";

/** Copied along with the model's configs and tables. */
const DOCUMENTS = ["README.md", "LICENSE", "LICENSE.md", "LICENSE.txt"] as const;

/** What fp16 rounds to infinity: halfway between its largest number and the next power of two. */
const FP16_OVERFLOW = 65_520;

export interface ConvertOptions {
  readonly dtype: FloatDtype;
  /** Replaces a checkpoint that is at the destination. */
  readonly force?: boolean;
  readonly variant?: string | undefined;
  /** int8 stores the weights that are multiplied in int8 as such ["none"]. */
  readonly quantization?: Quantization;
  /** Parameters written so far and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Writes the checkpoint `from` to the folder `to`, which appears when it is complete. Throws a CheckpointError for
 * whatever keeps `from` from being used, and if `to` is taken.
 */
export async function convertCheckpoint(from: string, to: string, options: ConvertOptions): Promise<void> {
  const { force = false, variant } = options;
  const source = resolve(from);
  const target = resolve(to);
  const inspection = inspectCheckpoint(source, variant);
  const [problem, ...others] = inspection.problems;
  if (problem !== undefined) {
    const more = others.length === 0 ? "" : ` (and ${others.length} more; vqd inspect lists them)`;
    throw new CheckpointError(source, `cannot be converted: ${problem}${more}`);
  }
  const checkpoint = new DiffusersCheckpoint(source, { variant });
  // Only now, since it makes the folder that the target goes into.
  await withFolderLock(target, () => {
    checkTarget(source, target, force);
    write(checkpoint, inspection, target, options);
  });
}

function write(
  checkpoint: DiffusersCheckpoint,
  inspection: Inspection,
  target: string,
  options: ConvertOptions,
): void {
  const building = mkdtempSync(join(dirname(target), `.${basename(target)}.tmp-`));
  try {
    const components = inspection.components.map(({ component }) => component);
    copyTexts(checkpoint.folder, building);
    const total = inspection.components.reduce((sum, { parameters }) => sum + parameters, 0);
    let done = 0;
    for (const component of components) {
      writeComponent(checkpoint, component, building, options, (parameters) => {
        done += parameters;
        options.onProgress?.(done, total);
      });
    }
    // A temporary folder is its owner's alone.
    chmodSync(building, 0o777 & ~process.umask());
    putInPlace(building, target);
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
}

function checkTarget(source: string, target: string, force: boolean): void {
  const within = relative(target, source);
  if (within === "" || !(within.startsWith("..") || within === resolve(within))) {
    throw new CheckpointError(target, "holds the checkpoint that is to be converted");
  }
  if (!existsSync(target) || readdirSync(target).length === 0) return;
  if (!force) throw new CheckpointError(target, "already exists and is not empty; --force replaces it");
  // What is replaced is deleted: only what is a checkpoint itself.
  if (!existsSync(join(target, "model_index.json"))) {
    throw new CheckpointError(target, "is not a checkpoint, so --force will not replace it");
  }
}

function copyTexts(folder: CheckpointFolder, building: string): void {
  for (const name of [...presentTexts(folder), ...DOCUMENTS.filter((document) => folder.has(document))]) {
    const path = folder.path(name);
    mkdirSync(join(building, dirname(name)), { recursive: true });
    onDisk(path, () => copyFileSync(path, join(building, name)));
  }
}

interface Plan extends PlannedTensor {
  /** The tensor of the source that it is made of. */
  readonly source: string;
}

/** An int8 weight is two tensors, the values and their scales. */
function planTensors(entries: Iterable<TensorEntry>, component: Component, options: ConvertOptions): Plan[] {
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
  checkpoint: DiffusersCheckpoint,
  component: Component,
  building: string,
  options: ConvertOptions,
  onWritten: (parameters: number) => void,
): void {
  const source = openWeights(checkpoint.folder, checkpoint.weightsFile(component));
  try {
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
