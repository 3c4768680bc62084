// Writes a safetensors file tensor by tensor, so that no more than one of them is in memory.

import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { DTYPE_BYTES, elementCount, type FloatDtype, fromFloat32 } from "./tensor.ts";

const LENGTH_BYTES = 8;
/** The header is padded with spaces to this, which keeps the data aligned. */
const HEADER_ALIGNMENT = 8;

export interface PlannedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Writes `tensors`, with the values that `read` gives for each, to `path` as `dtype`. */
export function writeSafetensors(
  path: string,
  tensors: readonly PlannedTensor[],
  dtype: FloatDtype,
  read: (name: string) => Float32Array<ArrayBuffer>,
): void {
  const fd = openSync(path, "wx");
  try {
    writeAll(fd, header(tensors, dtype));
    for (const { name } of tensors) writeAll(fd, fromFloat32(read(name), dtype));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function header(tensors: readonly PlannedTensor[], dtype: FloatDtype): Buffer {
  let offset = 0;
  const entries = tensors.map(({ name, shape }) => {
    const begin = offset;
    offset += elementCount(shape) * DTYPE_BYTES[dtype];
    return [name, { dtype, shape, data_offsets: [begin, offset] }] as const;
  });
  // transformers refuses files that do not say what wrote them.
  const json = JSON.stringify({ __metadata__: { format: "pt" }, ...Object.fromEntries(entries) });
  const bytes = Buffer.byteLength(json);
  const padded = Math.ceil(bytes / HEADER_ALIGNMENT) * HEADER_ALIGNMENT;
  const result = Buffer.alloc(LENGTH_BYTES + padded, " ");
  result.writeBigUInt64LE(BigInt(padded));
  result.write(json, LENGTH_BYTES);
  return result;
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, Math.min(bytes.length - done, 2 ** 30));
  }
}
