// The small random checkpoint of the fixtures and the reference's answers to it (vectors.json says what each is).

import { mkdtempSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

const TINY = join(import.meta.dirname, "..", "fixtures", "tiny");
export const TINY_CHECKPOINT = join(TINY, "checkpoint");

interface RunDescription {
  readonly choice: number;
  readonly prompts: string[];
  readonly num_inference_steps: number;
  readonly num_train_timesteps: number;
  readonly guidance_scale: number;
  readonly truncation_rate: number;
  readonly num_images_per_prompt: number;
  readonly latents: string;
  readonly noise: string | { bank: string; offset: number; stride: number };
}

export interface Vector {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}

const description = JSON.parse(readFileSync(join(TINY, "vectors.json"), "utf8")) as {
  prompts: { name: string; text: string }[];
  runs: Record<string, RunDescription>;
};

export const runs = description.runs;
export const prompts = description.prompts;

const file = readFileSync(join(TINY, "vectors.safetensors"));
const headerLength = Number(file.readBigUInt64LE(0));
const header = JSON.parse(file.subarray(8, 8 + headerLength).toString()) as Record<
  string,
  { dtype: string; shape: number[]; data_offsets: [number, number] }
>;

/** A tensor of the vectors, row-major. */
export function vector(name: string): Vector {
  const entry = header[name];
  if (entry === undefined) throw new Error(`no vector ${name}`);
  const [begin, end] = entry.data_offsets;
  const bytes = new Uint8Array(file.subarray(8 + headerLength + begin, 8 + headerLength + end)).buffer;
  const types = { F32: Float32Array, I32: Int32Array, U8: Uint8Array };
  const type = types[entry.dtype as keyof typeof types];
  return { shape: entry.shape, data: new type(bytes) };
}

export const floats = (name: string): Float32Array => Float32Array.from(vector(name).data);
export const integers = (name: string): Int32Array => Int32Array.from(vector(name).data);

/** Row `index` of the first axis, flat. */
export function row(name: string, ...indices: number[]): Float32Array {
  const { shape, data } = vector(name);
  let begin = 0;
  let length = data.length;
  for (const [axis, index] of indices.entries()) {
    length /= shape[axis] ?? 1;
    begin += index * length;
  }
  return Float32Array.from(data.subarray(begin, begin + length));
}

/** Largest absolute difference; NaN where the lengths differ. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.NaN;
  let max = 0;
  for (let i = 0; i < a.length; i++) max = Math.max(max, Math.abs((a[i] ?? 0) - (b[i] ?? 0)));
  return max;
}

/** [rows, columns] → [columns, rows]: the reference has classes before pixels, we have them after. */
export function transposed(data: ArrayLike<number>, rows: number): Float64Array {
  const columns = data.length / rows;
  return Float64Array.from(data, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)] ?? 0);
}

// Registered when the test file imports this: within a test it would be too late.
const folders = mkdtempSync(join(tmpdir(), "vqd-test-"));
afterAll(() => rm(folders, { recursive: true, force: true }));

/** An empty folder that is removed after the test file. */
export const temporaryFolder = (): Promise<string> => mkdtemp(join(folders, "f-"));
