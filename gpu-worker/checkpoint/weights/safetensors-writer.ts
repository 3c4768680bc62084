// Writes a safetensors file tensor by tensor, so that only one of them is in memory at a time.

import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { type Dtype, DTYPE_BYTES, elementCount } from "./tensor.ts";

const LENGTH_BYTES = 8;
/** The header is padded with spaces to a multiple of this, which keeps the data aligned. */
const HEADER_ALIGNMENT = 8;

export interface PlannedTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** Writes `tensors` to `path`, in order, with the little-endian bytes that `bytesOf` returns for each. */
export function writeSafetensors<T extends PlannedTensor>(
  path: string,
  tensors: readonly T[],
  bytesOf: (tensor: T) => Uint8Array<ArrayBuffer>,
): void {
  const fd = openSync(path, "wx");
  try {
    writeAll(fd, header(tensors));
    for (const tensor of tensors) writeAll(fd, bytesOf(tensor));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function header(tensors: readonly PlannedTensor[]): Buffer {
  let offset = 0;
  const entries = tensors.map(({ name, dtype, shape }) => {
    const begin = offset;
    offset += elementCount(shape) * DTYPE_BYTES[dtype];
    return [name, { dtype, shape, data_offsets: [begin, offset] }] as const;
  });
  // transformers rejects files that do not name the framework that wrote them.
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
