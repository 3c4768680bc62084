// The published shape with some of its layers: what it needs, and whether there is room for it.

import { statfsSync } from "node:fs";
import { freemem } from "node:os";
import { join } from "node:path";
import { gpuDevice } from "../../../gpu-worker/runtime/device.ts";
import type { Provider } from "../../../gpu-worker/runtime/session.ts";

export interface Shape {
  readonly layers: number;
  /** Of steps that are timed, in images. */
  readonly images: readonly number[];
  /** The checkpoint in fp32 and the graphs made of it, in GB. */
  readonly diskGb: number;
  /** Weights of 8 bits, tables and activations of the largest pass, in GB. */
  readonly memoryGb: number;
  /** The most that its steps may take, in seconds. */
  readonly seconds: number;
}

export const SHAPES: readonly Shape[] = [
  { layers: 2, images: [1, 2, 4, 8], diskGb: 1.6, memoryGb: 3, seconds: 60 },
  { layers: 36, images: [1, 2, 4], diskGb: 9, memoryGb: 6, seconds: 150 },
];

/** Where its checkpoint is written. */
export const shapeFolder = (cacheDir: string, layers: number): string => join(cacheDir, `shape${layers}`);

const GB = 1e9;

/** Why the shape cannot be measured here; undefined if it can, or if the device does not say how much memory it has. */
export function lackOfRoom(
  { diskGb, memoryGb }: Shape,
  provider: Provider,
  folder: string,
): string | undefined {
  const { bavail, bsize } = statfsSync(folder);
  const disk = (bavail * bsize) / GB;
  if (disk < diskGb) return `needs ${diskGb} GB in ${folder}, which has ${disk.toFixed(1)}`;
  const bytes = provider === "cpu" ? freemem() : gpuDevice().memoryBytes;
  if (bytes === undefined || bytes / GB >= memoryGb) return undefined;
  return `needs ${memoryGb} GB of memory, and there are ${(bytes / GB).toFixed(1)}`;
}
