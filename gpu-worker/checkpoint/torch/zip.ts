// Reads the directory of a zip file: where the bytes of its stored members are. Nothing is ever decompressed.

import { fstatSync } from "node:fs";
import { CheckpointError } from "../errors.ts";
import { readExactly } from "../weights/tensor.ts";

/** There is a member per tensor and a few more: published models have some hundreds. */
const MAX_MEMBERS = 100_000;
const MAX_DIRECTORY_BYTES = 32 * 1024 * 1024;
const MAX_COMMENT_BYTES = 0xffff;

const END_SIGNATURE = 0x06054b50;
const END_BYTES = 22;
const END64_SIGNATURE = 0x06064b50;
const END64_BYTES = 56;
const LOCATOR_SIGNATURE = 0x07064b50;
const LOCATOR_BYTES = 20;
const ENTRY_SIGNATURE = 0x02014b50;
const ENTRY_BYTES = 46;
const LOCAL_SIGNATURE = 0x04034b50;
const LOCAL_BYTES = 30;
const ZIP64_EXTRA = 0x0001;
/** "See the zip64 extra field". */
const ELSEWHERE = 0xffffffff;
const ENCRYPTED = 0x1;
/** The code of TorchScript's modules, which is compressed and never read. */
const CODE = /^[^/]+\/code\//;

export interface ZipMember {
  readonly name: string;
  /** Byte range of the member's content in the file. */
  readonly begin: number;
  readonly end: number;
}

/**
 * Members, by name, of the zip file open as `fd`. Throws a CheckpointError if it is damaged or truncated, or if a member
 * is compressed, encrypted, named twice, outside of the file or overlaps another.
 */
export function readZipDirectory(path: string, fd: number): Map<string, ZipMember> {
  const fileBytes = fstatSync(fd).size;
  const directory = findDirectory(path, fd, fileBytes);
  if (directory.count > MAX_MEMBERS) {
    throw new CheckpointError(path, `claims ${directory.count} members; the limit is ${MAX_MEMBERS}`);
  }
  if (directory.bytes > MAX_DIRECTORY_BYTES || directory.offset + directory.bytes > fileBytes) {
    throw new CheckpointError(
      path,
      `its zip directory claims ${directory.bytes} bytes at ${directory.offset} of a file of ${fileBytes}`,
    );
  }
  const bytes = read(path, fd, directory.offset, directory.bytes);
  const members = new Map<string, ZipMember>();
  let at = 0;
  for (let i = 0; i < directory.count; i++) {
    const entry = readEntry(path, bytes, at);
    at = entry.next;
    if (CODE.test(entry.name)) continue;
    if (members.has(entry.name)) throw new CheckpointError(path, `two members are named ${entry.name}`);
    const begin = contentStart(path, fd, entry.name, entry.headerOffset, fileBytes);
    const end = begin + entry.size;
    if (end > fileBytes) {
      throw new CheckpointError(path, `member ${entry.name} [${begin}, ${end}) lies outside of the file`);
    }
    members.set(entry.name, { name: entry.name, begin, end });
  }
  checkOverlap(path, [...members.values()]);
  return members;
}

interface Directory {
  readonly count: number;
  readonly bytes: number;
  readonly offset: number;
}

function findDirectory(path: string, fd: number, fileBytes: number): Directory {
  const tailBytes = Math.min(fileBytes, END_BYTES + MAX_COMMENT_BYTES);
  const tailStart = fileBytes - tailBytes;
  const tail = read(path, fd, tailStart, tailBytes);
  let at = tailBytes - END_BYTES;
  while (at >= 0 && tail.readUInt32LE(at) !== END_SIGNATURE) at--;
  if (at < 0) throw new CheckpointError(path, "not a zip file, or truncated");
  const locatorStart = tailStart + at - LOCATOR_BYTES;
  if (locatorStart >= 0) {
    const locator = read(path, fd, locatorStart, LOCATOR_BYTES);
    if (locator.readUInt32LE(0) === LOCATOR_SIGNATURE) {
      return readEnd64(path, fd, safe(path, locator.readBigUInt64LE(8)), locatorStart);
    }
  }
  return {
    count: tail.readUInt16LE(at + 10),
    bytes: tail.readUInt32LE(at + 12),
    offset: tail.readUInt32LE(at + 16),
  };
}

function readEnd64(path: string, fd: number, offset: number, before: number): Directory {
  if (offset + END64_BYTES > before)
    throw new CheckpointError(path, "its zip64 end lies outside of the file");
  const end = read(path, fd, offset, END64_BYTES);
  if (end.readUInt32LE(0) !== END64_SIGNATURE) throw new CheckpointError(path, "its zip64 end is damaged");
  return {
    count: safe(path, end.readBigUInt64LE(32)),
    bytes: safe(path, end.readBigUInt64LE(40)),
    offset: safe(path, end.readBigUInt64LE(48)),
  };
}

function readEntry(path: string, directory: Buffer, at: number) {
  if (at + ENTRY_BYTES > directory.length || directory.readUInt32LE(at) !== ENTRY_SIGNATURE) {
    throw new CheckpointError(path, "its zip directory is damaged or lists fewer members than it claims");
  }
  const nameEnd = at + ENTRY_BYTES + directory.readUInt16LE(at + 28);
  const extraEnd = nameEnd + directory.readUInt16LE(at + 30);
  const next = extraEnd + directory.readUInt16LE(at + 32);
  if (next > directory.length) throw new CheckpointError(path, "its zip directory is truncated");
  const name = directory.toString("utf8", at + ENTRY_BYTES, nameEnd);
  if ((directory.readUInt16LE(at + 8) & ENCRYPTED) !== 0) {
    throw new CheckpointError(path, `member ${name} is encrypted`);
  }
  if (CODE.test(name)) return { name, size: 0, headerOffset: 0, next };
  // PyTorch stores members uncompressed. A compressed one could have any size once decompressed.
  if (directory.readUInt16LE(at + 10) !== 0) {
    throw new CheckpointError(path, `member ${name} is compressed; PyTorch stores members uncompressed`);
  }
  // The zip64 extra field holds only the values that did not fit, in this order.
  const wide = zip64Extra(directory, nameEnd, extraEnd);
  let used = 0;
  const field = (value: number): number => {
    if (value !== ELSEWHERE) return value;
    if (used + 8 > wide.length) throw new CheckpointError(path, `the sizes of member ${name} are missing`);
    used += 8;
    return safe(path, wide.readBigUInt64LE(used - 8));
  };
  const size = field(directory.readUInt32LE(at + 24));
  const storedSize = field(directory.readUInt32LE(at + 20));
  const headerOffset = field(directory.readUInt32LE(at + 42));
  if (size !== storedSize) {
    throw new CheckpointError(path, `member ${name} is stored in ${storedSize} bytes instead of ${size}`);
  }
  return { name, size, headerOffset, next };
}

function zip64Extra(directory: Buffer, begin: number, end: number): Buffer {
  for (let at = begin; at + 4 <= end;) {
    const length = directory.readUInt16LE(at + 2);
    if (directory.readUInt16LE(at) === ZIP64_EXTRA) {
      return directory.subarray(at + 4, Math.min(end, at + 4 + length));
    }
    at += 4 + length;
  }
  return Buffer.alloc(0);
}

/** The position after the local header, whose extra field has its own length and holds PyTorch's padding. */
function contentStart(path: string, fd: number, name: string, offset: number, fileBytes: number): number {
  if (offset + LOCAL_BYTES > fileBytes) {
    throw new CheckpointError(path, `the header of member ${name} lies outside of the file`);
  }
  const header = read(path, fd, offset, LOCAL_BYTES);
  if (header.readUInt32LE(0) !== LOCAL_SIGNATURE) {
    throw new CheckpointError(path, `the header of member ${name} is damaged`);
  }
  return offset + LOCAL_BYTES + header.readUInt16LE(26) + header.readUInt16LE(28);
}

function checkOverlap(path: string, members: readonly ZipMember[]): void {
  const sorted = members.filter(({ begin, end }) => end > begin).toSorted((a, b) => a.begin - b.begin);
  for (const [i, member] of sorted.entries()) {
    const next = sorted[i + 1];
    if (next !== undefined && next.begin < member.end) {
      throw new CheckpointError(path, `members ${member.name} and ${next.name} overlap`);
    }
  }
}

function safe(path: string, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new CheckpointError(path, `its zip directory claims a position or size of ${value}`);
  }
  return Number(value);
}

function read(path: string, fd: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  readExactly(path, fd, bytes, position);
  return bytes;
}
