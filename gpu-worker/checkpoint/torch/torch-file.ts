// Reads the files of torch.save: a zip file with a pickle that names tensors, and a member per storage.

import { closeSync, fstatSync } from "node:fs";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { CheckpointError } from "../errors.ts";
import { openFile } from "../files/open.ts";
import { unpickle } from "./pickle.ts";
import { type PickleDict, PickleModule, PickleTensor, type PickleValue } from "./pickle-values.ts";
import {
  DTYPE_BYTES,
  elementCount,
  readExactly,
  type TensorEntry,
  type TensorSource,
  toFloat32,
} from "../weights/tensor.ts";
import { readZipDirectory, type ZipMember } from "./zip.ts";

/** The pickle holds only names and shapes; those of real models are below 1 MB. */
const MAX_PICKLE_BYTES = 64 * 1024 * 1024;
const MAX_DIMENSIONS = 16;
const MAX_BYTEORDER_BYTES = 16;
/** Of TorchScript's modules; CLIP has 6. */
const MAX_MODULE_DEPTH = 64;
const ZIP_MAGIC = "PK";
/** How files of PyTorch before 1.6 begin: with a pickle of protocol 2 and a long integer. */
const OLD_MAGIC = Buffer.from([0x80, 0x02, 0x8a, 0x0a]);

interface TorchEntry extends TensorEntry {
  readonly strides: readonly number[];
}

export class TorchFile implements TensorSource {
  readonly path: string;
  readonly entries: ReadonlyMap<string, TorchEntry>;
  readonly #fd: number;

  private constructor(path: string, fd: number, entries: ReadonlyMap<string, TorchEntry>) {
    this.path = path;
    this.#fd = fd;
    this.entries = entries;
  }

  /** Opens the file and checks all tensors in it; throws a CheckpointError that says what is wrong. */
  static open(path: string): TorchFile {
    return TorchFile.openPart(path, stateDict);
  }

  /**
   * The same for the tensors of the dict that `part` picks from the file's value: one that a training checkpoint holds
   * besides others, such as optimizer states, which are then left unread. What it throws is thrown.
   */
  static openPart(path: string, part: (value: PickleValue, path: string) => PickleDict): TorchFile {
    const fd = openFile(path);
    try {
      return new TorchFile(path, fd, readEntries(path, fd, part));
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
    const bytes = new Uint8Array(entry.end - entry.begin);
    readExactly(this.path, this.#fd, bytes, entry.begin);
    const values = toFloat32(this.path, entry, bytes);
    return isContiguous(entry) ? values : gather(values, entry);
  }

  /** The values of a one-dimensional tensor of 64-bit integers, such as a table; those beyond 2^53 lose precision. */
  readIntegers(name: string): number[] {
    const entry = this.entries.get(name);
    if (entry === undefined) throw new CheckpointError(this.path, `tensor ${name} is missing`);
    if (entry.dtype !== "I64" || entry.shape.length !== 1 || !isContiguous(entry)) {
      throw new CheckpointError(
        this.path,
        `tensor ${name} is ${entry.dtype} [${entry.shape.join(", ")}], expected a list of I64`,
      );
    }
    const bytes = new Uint8Array(entry.end - entry.begin);
    readExactly(this.path, this.#fd, bytes, entry.begin);
    return Array.from(new BigInt64Array(bytes.buffer), Number);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** The file's value as a plain state dict. */
function stateDict(value: PickleValue, path: string): PickleDict {
  if (value instanceof Map) return value;
  throw new CheckpointError(path, "holds no dict of tensors");
}

/** TorchScript's modules as a state dict: names joined by dots. A module that is in several places is listed once. */
function flatten(module: PickleModule, path: string): PickleDict {
  const result: PickleDict = new Map();
  const seen = new Set<PickleModule>();
  const visit = ({ attributes }: PickleModule, prefix: string, depth: number): void => {
    if (depth > MAX_MODULE_DEPTH) {
      throw new CheckpointError(path, `its modules are nested more than ${MAX_MODULE_DEPTH} deep`);
    }
    for (const [name, value] of attributes) {
      if (typeof name !== "string") continue;
      if (!(value instanceof PickleModule)) result.set(prefix + name, value);
      else if (!seen.has(value)) {
        seen.add(value);
        visit(value, `${prefix}${name}.`, depth + 1);
      }
    }
  };
  visit(module, "", 1);
  return result;
}

/** Like `stateDict`, but also of a TorchScript archive, as `torch.jit.save` writes it. */
export const scriptedStateDict = (value: PickleValue, path: string): PickleDict =>
  value instanceof PickleModule ? flatten(value, path) : stateDict(value, path);

function readEntries(
  path: string,
  fd: number,
  part: (value: PickleValue, path: string) => PickleDict,
): Map<string, TorchEntry> {
  checkMagic(path, fd);
  const members = readZipDirectory(path, fd);
  const pickle = [...members.values()].find(({ name }) => /^[^/]*\/data\.pkl$/.test(name));
  if (pickle === undefined) throw new CheckpointError(path, "not a PyTorch file: it has no data.pkl");
  const root = pickle.name.slice(0, -"data.pkl".length);
  const byteOrder = members.get(`${root}byteorder`);
  if (byteOrder !== undefined) {
    const order = readMember(path, fd, byteOrder, MAX_BYTEORDER_BYTES).toString("latin1");
    if (order !== "little") {
      throw new CheckpointError(path, `its byte order is ${JSON.stringify(order)}, expected "little"`);
    }
  }
  const value = part(unpickle(path, readMember(path, fd, pickle, MAX_PICKLE_BYTES)), path);
  const entries = new Map<string, TorchEntry>();
  for (const [name, tensor] of value) {
    // Counters and settings may be stored among the weights; nothing reads them.
    if (typeof name !== "string" || !(tensor instanceof PickleTensor)) continue;
    entries.set(name, readEntry(path, name, tensor, members.get(`${root}data/${tensor.storage.key}`)));
  }
  if (entries.size === 0 && value.size > 0) {
    const names = [...value.keys()].slice(0, 5).map(nameOf).join(", ").slice(0, 200);
    throw new CheckpointError(path, `holds no tensors by name, but ${names}; expected a plain state dict`);
  }
  return entries;
}

/** A key of a pickled dict, which may be anything. */
const nameOf = (key: unknown): string => (typeof key === "string" ? key : `a key of type ${typeof key}`);

function checkMagic(path: string, fd: number): void {
  const magic = Buffer.alloc(OLD_MAGIC.length);
  readExactly(path, fd, magic, 0);
  if (magic.equals(OLD_MAGIC)) {
    throw new CheckpointError(
      path,
      "written by PyTorch before 1.6, whose format is not supported; load and save it with a newer version",
    );
  }
  if (magic.toString("latin1", 0, 2) !== ZIP_MAGIC) {
    throw new CheckpointError(path, "not a PyTorch file: it is not a zip file");
  }
}

function readMember(path: string, fd: number, { name, begin, end }: ZipMember, limit: number): Buffer {
  if (end - begin > limit) {
    throw new CheckpointError(path, `member ${name} has ${end - begin} bytes; the limit is ${limit}`);
  }
  const bytes = Buffer.alloc(end - begin);
  readExactly(path, fd, bytes, begin);
  return bytes;
}

function readEntry(
  path: string,
  name: string,
  { storage, offset, shape, strides }: PickleTensor,
  member: ZipMember | undefined,
): TorchEntry {
  const fail = (reason: string): CheckpointError => new CheckpointError(path, `tensor ${name}: ${reason}`);
  const { dtype, key, size } = storage;
  if (member === undefined) throw fail(`its storage ${key} is missing`);
  const width = DTYPE_BYTES[dtype];
  const bytes = member.end - member.begin;
  if (size * width !== bytes) {
    throw fail(`its storage ${key} takes ${size * width} bytes as ${dtype}, but has ${bytes}`);
  }
  const count = elementCount(shape);
  // A stride of 0 repeats values: a few bytes could stand for a tensor of any size.
  if (shape.length > MAX_DIMENSIONS)
    throw fail(`has ${shape.length} dimensions; the limit is ${MAX_DIMENSIONS}`);
  if (!(count <= size))
    throw fail(`shape [${shape.join(", ")}] is larger than its storage of ${size} elements`);
  const last = shape.reduce(
    (sum, length, axis) => sum + (length - 1) * (strides[axis] ?? outOfBounds()),
    offset,
  );
  const span = count === 0 ? 0 : last + 1 - offset;
  if (offset > size || offset + span > size) {
    throw fail(
      `shape [${shape.join(", ")}], strides [${strides.join(", ")}] and offset ${offset} reach beyond its storage of ${size} elements`,
    );
  }
  const begin = member.begin + offset * width;
  return { name, dtype, shape, strides, begin, end: begin + span * width };
}

/** Whether values are stored in the order of their indices; the stride of an axis of length 1 does not matter. */
function isContiguous({ shape, strides }: TorchEntry): boolean {
  let expected = 1;
  for (const [axis, length] of [...shape.entries()].toReversed()) {
    if (length !== 1 && strides[axis] !== expected) return false;
    expected *= length;
  }
  return true;
}

/** The values of a view, such as a transposed matrix, in the order of their indices. */
function gather(values: Float32Array, { shape, strides }: TorchEntry): Float32Array<ArrayBuffer> {
  const result = new Float32Array(elementCount(shape));
  const index = new Array<number>(shape.length).fill(0);
  let from = 0;
  for (let i = 0; i < result.length; i++) {
    result[i] = values[from] ?? outOfBounds();
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const stride = strides[axis] ?? outOfBounds();
      const next = (index[axis] ?? outOfBounds()) + 1;
      from += stride;
      if (next < (shape[axis] ?? outOfBounds())) {
        index[axis] = next;
        break;
      }
      from -= next * stride;
      index[axis] = 0;
    }
  }
  return result;
}
