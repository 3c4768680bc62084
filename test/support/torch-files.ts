// Writes files as torch.save does, and such as it never would: pickles by opcode, zip files by member.

import { closeSync, openSync, writeSync } from "node:fs";
import { crc32 } from "node:zlib";

const STORAGE = { F64: "Double", F32: "Float", F16: "Half", BF16: "BFloat16", I64: "Long" } as const;

export interface TorchTensor {
  readonly dtype: keyof typeof STORAGE;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
  /** Of the values in the order of their indices, if not given. */
  readonly strides?: readonly number[];
  readonly offset?: number;
  /** Elements of the storage, if not as many as the data has. */
  readonly claimed?: number;
  readonly key?: string;
}

const WIDTH = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8 } as const;

type Code = Buffer;
const bytes = (...values: number[]): Code => Buffer.from(values);
const uint32 = (value: number): Code => {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
};

/** Opcodes of a pickle; each name is Python's. */
export const op = {
  proto: (version = 2): Code => bytes(0x80, version),
  stop: bytes(0x2e),
  mark: bytes(0x28),
  none: bytes(0x4e),
  emptyDict: bytes(0x7d),
  emptyList: bytes(0x5d),
  emptyTuple: bytes(0x29),
  tuple: bytes(0x74),
  tuple1: bytes(0x85),
  tuple2: bytes(0x86),
  append: bytes(0x61),
  setItems: bytes(0x75),
  setItem: bytes(0x73),
  reduce: bytes(0x52),
  build: bytes(0x62),
  newObj: bytes(0x81),
  stackGlobal: bytes(0x93),
  memoize: bytes(0x94),
  persId: bytes(0x51),
  falseValue: bytes(0x89),
  global: (module: string, name: string): Code => Buffer.from(`c${module}\n${name}\n`),
  text: (value: string): Code =>
    Buffer.concat([bytes(0x58), uint32(Buffer.byteLength(value)), Buffer.from(value)]),
  /** As an integer of any length, so that every count can be written. */
  integer: (value: number): Code => {
    const buffer = Buffer.alloc(10);
    buffer.writeUInt8(0x8a);
    buffer.writeUInt8(8, 1);
    buffer.writeBigInt64LE(BigInt(value), 2);
    return buffer;
  },
  shortPut: bytes(0x71, 0),
  longPut: (index: number): Code => Buffer.concat([bytes(0x72), uint32(index)]),
  longGet: (index: number): Code => Buffer.concat([bytes(0x6a), uint32(index)]),
};

export const pickle = (...codes: readonly Code[]): Buffer => Buffer.concat([op.proto(), ...codes, op.stop]);

const integers = (values: readonly number[]): Code =>
  Buffer.concat([op.mark, ...values.map((value) => op.integer(value)), op.tuple]);

function contiguous(shape: readonly number[]): number[] {
  return shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
}

/** The opcodes of one tensor, as `torch._utils._rebuild_tensor_v2` takes it. */
function tensorCode(tensor: TorchTensor, key: string): Code {
  const { dtype, shape, data, strides = contiguous(shape), offset = 0 } = tensor;
  const claimed = tensor.claimed ?? data.length / WIDTH[dtype];
  return Buffer.concat([
    op.global("torch._utils", "_rebuild_tensor_v2"),
    op.mark,
    op.mark,
    op.text("storage"),
    op.global("torch", `${STORAGE[dtype]}Storage`),
    op.text(key),
    op.text("cpu"),
    op.integer(claimed),
    op.tuple,
    op.persId,
    op.integer(offset),
    integers(shape),
    integers(strides),
    op.falseValue,
    op.global("collections", "OrderedDict"),
    op.emptyTuple,
    op.reduce,
    op.tuple,
    op.reduce,
  ]);
}

export function statePickle(tensors: Readonly<Record<string, TorchTensor>>): Buffer {
  const items = Object.entries(tensors).flatMap(([name, tensor], i) => [
    op.text(name),
    tensorCode(tensor, tensor.key ?? `${i}`),
  ]);
  return pickle(op.emptyDict, op.mark, ...items, op.setItems);
}

export interface Member {
  readonly name: string;
  readonly data: Uint8Array;
  /** Zip's number of the compression: 0 is stored, 8 deflated. */
  readonly method?: number;
  readonly flags?: number;
  /** What the directory claims, if not the truth. */
  readonly size?: number;
  readonly storedSize?: number;
  readonly headerOffset?: number;
}

/** The local header of a member at `offset`, with the padding to 64 bytes that PyTorch puts before the content. */
function localHeader(name: string, method: number, offset: number): Buffer {
  const encoded = Buffer.from(name);
  const padding = (64 - ((offset + 30 + encoded.length + 4) % 64)) % 64;
  const local = Buffer.alloc(30 + encoded.length + 4 + padding);
  local.writeUInt32LE(0x04034b50);
  local.writeUInt16LE(method, 8);
  local.writeUInt16LE(encoded.length, 26);
  local.writeUInt16LE(4 + padding, 28);
  encoded.copy(local, 30);
  local.writeUInt16LE(0x4246, 30 + encoded.length);
  local.writeUInt16LE(padding, 32 + encoded.length);
  return local;
}

interface Entry {
  readonly name: string;
  readonly method: number;
  readonly flags: number;
  readonly crc: number;
  readonly size: number;
  readonly storedSize: number;
  readonly headerOffset: number;
}

/** A member's entry in the directory; `zip64` puts sizes and offset into the wide extra field. */
function directoryEntry(member: Entry, zip64: boolean): Buffer {
  const { size, storedSize, headerOffset } = member;
  const name = Buffer.from(member.name);
  const wide = zip64 ? Buffer.alloc(28) : Buffer.alloc(0);
  if (zip64) {
    wide.writeUInt16LE(1);
    wide.writeUInt16LE(24, 2);
    for (const [i, value] of [size, storedSize, headerOffset].entries()) {
      wide.writeBigUInt64LE(BigInt(value), 4 + 8 * i);
    }
  }
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50);
  entry.writeUInt16LE(member.flags, 8);
  entry.writeUInt16LE(member.method, 10);
  entry.writeUInt32LE(member.crc, 16);
  entry.writeUInt32LE(zip64 ? 0xffffffff : storedSize, 20);
  entry.writeUInt32LE(zip64 ? 0xffffffff : size, 24);
  entry.writeUInt16LE(name.length, 28);
  entry.writeUInt16LE(wide.length, 30);
  entry.writeUInt32LE(zip64 ? 0xffffffff : headerOffset, 42);
  return Buffer.concat([entry, name, wide]);
}

/** A zip file of stored members; `zip64` writes the wide directory. */
export function zipFile(
  members: readonly Member[],
  { zip64 = false, count = members.length }: { zip64?: boolean; count?: number } = {},
): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, data, method = 0, flags = 0, ...claims } of members) {
    const local = localHeader(name, method, offset);
    const truth = { size: data.length, storedSize: data.length, headerOffset: offset };
    directory.push(directoryEntry({ name, method, flags, crc: crc32(data), ...truth, ...claims }, zip64));
    parts.push(local, Buffer.from(data));
    offset += local.length + data.length;
  }
  const listed = Buffer.concat(directory);
  return Buffer.concat([...parts, listed, ...endOfZip(listed.length, offset, count, zip64)]);
}

function endOfZip(bytesListed: number, offset: number, count: number, zip64: boolean): Buffer[] {
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt16LE(zip64 ? 0xffff : count, 8);
  end.writeUInt16LE(zip64 ? 0xffff : count, 10);
  end.writeUInt32LE(zip64 ? 0xffffffff : bytesListed, 12);
  end.writeUInt32LE(zip64 ? 0xffffffff : offset, 16);
  if (!zip64) return [end];
  const wide = Buffer.alloc(56);
  wide.writeUInt32LE(0x06064b50);
  wide.writeBigUInt64LE(44n, 4);
  wide.writeBigUInt64LE(BigInt(count), 24);
  wide.writeBigUInt64LE(BigInt(count), 32);
  wide.writeBigUInt64LE(BigInt(bytesListed), 40);
  wide.writeBigUInt64LE(BigInt(offset), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50);
  locator.writeBigUInt64LE(BigInt(offset + bytesListed), 8);
  locator.writeUInt32LE(1, 16);
  return [wide, locator, end];
}

/** The members of a PyTorch file with this pickle and these storages. */
export function torchMembers(
  code: Uint8Array,
  storages: Readonly<Record<string, Uint8Array>> = {},
  byteOrder = "little",
): Member[] {
  return [
    { name: "archive/data.pkl", data: code },
    { name: "archive/byteorder", data: Buffer.from(byteOrder) },
    ...Object.entries(storages).map(([key, data]) => ({ name: `archive/data/${key}`, data })),
    { name: "archive/version", data: Buffer.from("3\n") },
  ];
}

/** A whole file, as `torch.save(state_dict)` writes it. */
export function torchFile(tensors: Readonly<Record<string, TorchTensor>>, zip64 = false): Buffer {
  const storages = Object.values(tensors).map((tensor, i) => [tensor.key ?? `${i}`, tensor.data] as const);
  return zipFile(torchMembers(statePickle(tensors), Object.fromEntries(storages)), { zip64 });
}

interface ModuleTree {
  [name: string]: ModuleTree | Code;
}

/** The opcodes of a module, as TorchScript pickles it: an object with parameters and submodules as attributes. */
const moduleCode = (tree: ModuleTree): Code =>
  Buffer.concat([
    op.global("__torch__", "Module"),
    op.emptyTuple,
    op.newObj,
    op.emptyDict,
    op.mark,
    ...Object.entries(tree).flatMap(([name, value]) => [
      op.text(name),
      Buffer.isBuffer(value) ? value : moduleCode(value),
    ]),
    op.setItems,
    op.build,
  ]);

/** A TorchScript archive, as `torch.jit.save` writes it, of modules nested as the names of `tensors` say. */
export function scriptedFile(
  tensors: Readonly<Record<string, TorchTensor>>,
  others: readonly Member[],
): Buffer {
  const root: ModuleTree = {};
  for (const [i, [name, tensor]] of Object.entries(tensors).entries()) {
    const path = name.split(".");
    const last = path.pop() ?? "";
    let tree = root;
    for (const part of path) tree = (tree[part] ??= {}) as ModuleTree;
    tree[last] = tensorCode(tensor, `${i}`);
  }
  const storages = Object.values(tensors).map(({ data }, i) => [`${i}`, data] as const);
  return zipFile([...torchMembers(pickle(moduleCode(root)), Object.fromEntries(storages)), ...others]);
}

/** Writes a file of any size as `torch.save` does, holding the bytes of one tensor at a time. */
export function writeTorchFile(
  path: string,
  tensors: readonly { readonly name: string; readonly shape: readonly number[] }[],
  dtype: "F32" | "F16",
  read: (name: string) => Uint8Array,
): void {
  const described = tensors.map(({ name, shape }): [string, TorchTensor] => {
    const claimed = shape.reduce((product, size) => product * size, 1);
    return [name, { dtype, shape, claimed, data: new Uint8Array() }];
  });
  const fd = openSync(path, "w");
  const directory: Buffer[] = [];
  let offset = 0;
  const put = (content: Uint8Array): void => {
    for (let done = 0; done < content.length;) done += writeSync(fd, content, done);
    offset += content.length;
  };
  const member = (name: string, data: Uint8Array): void => {
    const size = data.length;
    const entry = {
      name,
      method: 0,
      flags: 0,
      crc: crc32(data),
      size,
      storedSize: size,
      headerOffset: offset,
    };
    put(localHeader(name, 0, offset));
    put(data);
    directory.push(directoryEntry(entry, true));
  };
  try {
    for (const { name, data } of torchMembers(statePickle(Object.fromEntries(described)))) member(name, data);
    for (const [i, { name }] of tensors.entries()) member(`archive/data/${i}`, read(name));
    const listed = Buffer.concat(directory);
    const end = endOfZip(listed.length, offset, directory.length, true);
    put(listed);
    for (const part of end) put(part);
  } finally {
    closeSync(fd);
  }
}
