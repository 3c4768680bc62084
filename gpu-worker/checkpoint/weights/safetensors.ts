// Reads safetensors files: a checked header, and tensors as Float32Array one at a time.

import { closeSync, fstatSync } from "node:fs";
import { CheckpointError } from "../errors.ts";
import { openFile } from "../files/open.ts";
import { attachScales, dequantizeWeight } from "./int8.ts";
import {
  DTYPE_BYTES,
  isDtype,
  readExactly,
  type TensorEntry,
  type TensorSource,
  toFloat32,
} from "./tensor.ts";

/** A header lists names and shapes; the format's own implementation allows 100 MB, real ones are below 1 MB. */
const MAX_HEADER_BYTES = 16 * 1024 * 1024;
const LENGTH_BYTES = 8;

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
    const fd = openFile(path);
    try {
      return new SafetensorsFile(path, fd, readHeader(path, fd));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  get bytes(): number {
    return fstatSync(this.#fd).size;
  }

  read(name: string): Float32Array<ArrayBuffer> {
    const entry = this.entries.get(name);
    if (entry === undefined) throw new CheckpointError(this.path, `tensor ${name} is missing`);
    if (entry.scale === undefined) return toFloat32(this.path, entry, this.#bytesOf(entry));
    const scales = new Float32Array(this.#bytesOf(entry.scale).buffer);
    return dequantizeWeight(new Int8Array(this.#bytesOf(entry).buffer), scales);
  }

  #bytesOf({ begin, end }: TensorEntry): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(end - begin);
    readExactly(this.path, this.#fd, bytes, begin);
    return bytes;
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
  return attachScales(path, entries);
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
  if (!isDtype(dtype)) {
    throw new CheckpointError(path, `tensor ${name}: dtype ${String(dtype)} is not supported`, {
      remedy: "save the weights as fp32, fp16 or bf16",
    });
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) throw fail("its shape is not a list of sizes");
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw fail("its data_offsets are not two positions");
  }
  const [begin = 0, end = 0] = offsets;
  if (begin > end || dataStart + end > fileBytes)
    throw fail(`its data [${begin}, ${end}) lies outside of the file`);
  const bytes = shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype]);
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
