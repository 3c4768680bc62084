// Named tensors of a weight file in any format, and their values as fp32.

import { readSync } from "node:fs";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { CheckpointError } from "../errors.ts";
import { onDisk } from "../files/open.ts";

/** Bytes per element of the dtypes that a checkpoint of this kind can hold. */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;
export type Dtype = keyof typeof DTYPE_BYTES;

export const isDtype = (value: unknown): value is Dtype =>
  typeof value === "string" && Object.hasOwn(DTYPE_BYTES, value);

/** Weights are floats, or int8 with scales; other integers in a weight file are tables that the model computes itself. */
export const isWeight = ({ dtype, scale }: Pick<TensorEntry, "dtype" | "scale">): boolean =>
  dtype.includes("F") || scale !== undefined;

/** The number of values in a tensor of this shape. */
export const elementCount = (shape: readonly number[]): number =>
  shape.reduce((product, size) => product * size, 1);

/** The system reads less than 2 GiB at once. */
const MAX_READ_BYTES = 2 ** 30;

export interface TensorEntry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Byte range in the file. */
  readonly begin: number;
  readonly end: number;
  /** The scales of an int8 weight, one per row. */
  readonly scale?: TensorEntry;
}

/** A source of named tensors, implemented by each file format. */
export interface TensorSource {
  readonly path: string;
  /** Size of the file, or of all its parts, in bytes. */
  readonly bytes: number;
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /** The tensor's values as fp32, row-major. */
  read(name: string): Float32Array<ArrayBuffer>;
  close(): void;
}

/** Fills `into` from the file's bytes at `position`. */
export function readExactly(path: string, fd: number, into: Uint8Array, position: number): void {
  let done = 0;
  while (done < into.length) {
    const wanted = Math.min(into.length - done, MAX_READ_BYTES);
    const read = onDisk(path, () => readSync(fd, into, done, wanted, position + done));
    if (read === 0) throw new CheckpointError(path, "the file ended while it was read");
    done += read;
  }
}

/** Little-endian values of `entry` as fp32; throws for integers, which no weight of this model has. */
export function toFloat32(
  path: string,
  entry: TensorEntry,
  bytes: Uint8Array<ArrayBuffer>,
): Float32Array<ArrayBuffer> {
  switch (entry.dtype) {
    case "F32":
      return new Float32Array(bytes.buffer);
    case "F64":
      return new Float32Array(new Float64Array(bytes.buffer));
    case "F16":
      return widen(bytes, halfToFloatBits);
    case "BF16":
      return widen(bytes, (half) => half << 16);
    default:
      throw new CheckpointError(
        path,
        `tensor ${entry.name}: weights of dtype ${entry.dtype} are not supported`,
      );
  }
}

/** `toBits` converts a 16-bit pattern to an fp32 one; a loop over integers is several times faster than from(). */
function widen(bytes: Uint8Array<ArrayBuffer>, toBits: (half: number) => number): Float32Array<ArrayBuffer> {
  const halves = new Uint16Array(bytes.buffer);
  const wide = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) wide[i] = toBits(halves[i] ?? outOfBounds());
  return new Float32Array(wide.buffer);
}

function halfToFloatBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // A subnormal half is a normal float: shift its leading one up to the implicit position.
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
}

/** Dtypes that weights can be written in. */
export type FloatDtype = "F32" | "F16" | "BF16";

/** Little-endian bytes of `values` in `dtype`, rounded to nearest, ties to even. */
export function fromFloat32(values: Float32Array<ArrayBuffer>, dtype: FloatDtype): Uint8Array<ArrayBuffer> {
  switch (dtype) {
    case "F32":
      return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    case "F16":
      return new Uint8Array(new Float16Array(values).buffer);
    case "BF16":
      return toBrainFloats(values);
  }
}

function toBrainFloats(values: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) halves[i] = floatBitsToBrain(bits[i] ?? outOfBounds());
  return new Uint8Array(halves.buffer);
}

function floatBitsToBrain(bits: number): number {
  // A NaN must not be rounded to an infinity.
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}
