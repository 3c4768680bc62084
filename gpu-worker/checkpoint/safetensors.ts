// Reads safetensors files: a checked header, and tensors as Float32Array one at a time.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { CheckpointError } from "./errors.ts";

/** Bytes per element of the dtypes that a checkpoint of this kind can hold. */
const DTYPE_BYTES = { F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1, BOOL: 1 } as const;
type Dtype = keyof typeof DTYPE_BYTES;

/** A header lists names and shapes; the format's own implementation allows 100 MB, real ones are below 1 MB. */
const MAX_HEADER_BYTES = 16 * 1024 * 1024;
const LENGTH_BYTES = 8;

export interface TensorEntry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Byte range in the file. */
  readonly begin: number;
  readonly end: number;
}

/** Where named tensors come from; other file formats implement it too. */
export interface TensorSource {
  readonly path: string;
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /** The tensor's values as fp32, row-major. */
  read(name: string): Float32Array;
  close(): void;
}

export class SafetensorsFile implements TensorSource {
  readonly path: string;
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly #fd: number;

  private constructor(path: string, fd: number, entries: ReadonlyMap<string, TensorEntry>) {
    this.path = path;
    this.#fd = fd;
    this.entries = entries;
  }

  /** Opens the file and checks its header; throws a CheckpointError that says what is wrong with it. */
  static open(path: string): SafetensorsFile {
    const fd = openSync(path, "r");
    try {
      return new SafetensorsFile(path, fd, readHeader(path, fd));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  read(name: string): Float32Array {
    const entry = this.entries.get(name);
    if (entry === undefined) throw new CheckpointError(this.path, `tensor ${name} is missing`);
    const bytes = new Uint8Array(entry.end - entry.begin);
    readExactly(this.path, this.#fd, bytes, entry.begin);
    return toFloat32(this.path, entry, bytes);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function readHeader(path: string, fd: number): Map<string, TensorEntry> {
  const fileBytes = fstatSync(fd).size;
  if (fileBytes < LENGTH_BYTES)
    throw new CheckpointError(path, `too short for a safetensors file: ${fileBytes} bytes`);
  const prefix = new Uint8Array(LENGTH_BYTES);
  readExactly(path, fd, prefix, 0);
  const headerBytes = new DataView(prefix.buffer).getBigUint64(0, true);
  if (headerBytes > BigInt(Math.min(MAX_HEADER_BYTES, fileBytes - LENGTH_BYTES))) {
    throw new CheckpointError(path, `the header claims ${headerBytes} bytes of a file of ${fileBytes}`);
  }
  const json = new Uint8Array(Number(headerBytes));
  readExactly(path, fd, json, LENGTH_BYTES);
  const dataStart = LENGTH_BYTES + json.length;
  const entries = Object.entries(parseHeader(path, json))
    .filter(([name]) => name !== "__metadata__")
    .map(([name, value]) => readEntry(path, name, value, dataStart, fileBytes));
  checkOverlap(path, entries);
  return new Map(entries.map((entry) => [entry.name, entry]));
}

function parseHeader(path: string, json: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json));
  } catch (cause) {
    throw new CheckpointError(path, "the header is not JSON", { cause });
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw new CheckpointError(path, "the header is not a JSON object");
  }
  return header as Record<string, unknown>;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function readEntry(
  path: string,
  name: string,
  value: unknown,
  dataStart: number,
  fileBytes: number,
): TensorEntry {
  const fail = (reason: string): CheckpointError => new CheckpointError(path, `tensor ${name}: ${reason}`);
  if (typeof value !== "object" || value === null) throw fail("its header entry is not an object");
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  if (typeof dtype !== "string" || !Object.hasOwn(DTYPE_BYTES, dtype))
    throw fail(`dtype ${String(dtype)} is not supported`);
  if (!Array.isArray(shape) || !shape.every(isCount)) throw fail("its shape is not a list of sizes");
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw fail("its data_offsets are not two positions");
  }
  const [begin = 0, end = 0] = offsets;
  if (begin > end || dataStart + end > fileBytes)
    throw fail(`its data [${begin}, ${end}) lies outside of the file`);
  const bytes = shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype as Dtype]);
  if (bytes !== end - begin)
    throw fail(`shape [${shape.join(", ")}] of ${dtype} takes ${bytes} bytes, not ${end - begin}`);
  return { name, dtype, shape, begin: dataStart + begin, end: dataStart + end };
}

function checkOverlap(path: string, entries: readonly TensorEntry[]): void {
  const sorted = entries.filter((entry) => entry.end > entry.begin).toSorted((a, b) => a.begin - b.begin);
  for (const [i, entry] of sorted.entries()) {
    const next = sorted[i + 1];
    if (next !== undefined && next.begin < entry.end) {
      throw new CheckpointError(path, `tensors ${entry.name} and ${next.name} overlap`);
    }
  }
}

function readExactly(path: string, fd: number, into: Uint8Array, position: number): void {
  let done = 0;
  while (done < into.length) {
    const read = readSync(fd, into, done, into.length - done, position + done);
    if (read === 0) throw new CheckpointError(path, "the file ended while it was read");
    done += read;
  }
}

function toFloat32(path: string, entry: TensorEntry, bytes: Uint8Array<ArrayBuffer>): Float32Array {
  switch (entry.dtype) {
    case "F32":
      return new Float32Array(bytes.buffer);
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

/** `toBits` gives the fp32 bit pattern of a 16-bit one; a loop over integers is several times faster than from(). */
function widen(bytes: Uint8Array<ArrayBuffer>, toBits: (half: number) => number): Float32Array {
  const halves = new Uint16Array(bytes.buffer);
  const wide = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) wide[i] = toBits(halves[i] ?? 0);
  return new Float32Array(wide.buffer);
}

function halfToFloatBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // A subnormal half is a normal float: shift its leading one up to the implicit place.
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
}
