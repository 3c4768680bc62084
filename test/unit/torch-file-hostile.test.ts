// PyTorch files that are damaged, or made to run code or to exhaust memory: refused by name, and nothing is run.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { array, assert, asyncProperty, integer, nat, tuple } from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { CheckpointError } from "../../gpu-worker/checkpoint/errors.ts";
import { TorchFile } from "../../gpu-worker/checkpoint/torch/torch-file.ts";
import { temporaryFolder } from "../support/tiny.ts";
import {
  type Member,
  op,
  pickle,
  statePickle,
  torchFile,
  torchMembers,
  type TorchTensor,
  zipFile,
} from "../support/torch-files.ts";

let path: string;
beforeEach(async () => {
  path = join(await temporaryFolder(), "pytorch_model.bin");
});

async function expectRefused(content: Uint8Array, message: RegExp): Promise<void> {
  await writeFile(path, content);
  let error: unknown;
  try {
    TorchFile.open(path).close();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(CheckpointError);
  const text = (error as Error).message;
  expect(text).toMatch(message);
  expect(text.startsWith(`${path}: `)).toBe(true);
  expect(text).not.toContain("\n");
  expect(text.length).toBeLessThan(path.length + 400);
}

const floats = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const tensor = { dtype: "F32", shape: [2], data: floats(1, 2) } as const;
const repeated = (code: Buffer, times: number): Buffer => Buffer.concat(new Array<Buffer>(times).fill(code));
const tensorGlobal = op.global("torch._utils", "_rebuild_tensor_v2");
const args = Buffer.concat([op.text("touch /tmp/owned"), op.tuple1]);

describe("a pickle", () => {
  it.each<[string, Buffer, RegExp]>([
    [
      "that calls os.system",
      pickle(op.global("os", "system"), args, op.reduce),
      /refers to os\.system, which may run code/,
    ],
    [
      "that calls os.system by names on its stack",
      pickle(op.text("os"), op.text("system"), op.stackGlobal, args, op.reduce),
      /refers to os\.system, which may run code/,
    ],
    ["that calls eval", pickle(op.global("builtins", "eval"), args, op.reduce), /refers to builtins\.eval/],
    [
      "that calls Python 2's eval",
      pickle(op.global("__builtin__", "eval"), args, op.reduce),
      /refers to __builtin__\.eval/,
    ],
    [
      "that makes an object of any class",
      pickle(op.global("copyreg", "_reconstructor"), args, op.reduce),
      /refers to copyreg\._reconstructor/,
    ],
    [
      "that unpickles a storage",
      pickle(op.global("torch.storage", "_load_from_bytes"), args, op.reduce),
      /refers to torch\.storage\._load_from_bytes/,
    ],
    [
      "that reaches a function through an allowed module",
      pickle(op.global("torch._utils", "_rebuild_tensor_v2.__globals__"), args, op.reduce),
      /refers to torch\._utils\._rebuild_tensor_v2\.__globals__/,
    ],
    ["that names JavaScript's own", pickle(op.global("", "constructor")), /refers to \.constructor/],
    ["that names a prototype", pickle(op.text("__proto__"), op.text("x"), op.stackGlobal), /__proto__\.x/],
    [
      "whose class has a long name",
      pickle(op.global("a".repeat(9999), "b")),
      /refers to a{120}\.\.\., which/,
    ],
    ["whose class has a name that is no text", pickle(op.none, op.none, op.stackGlobal), /class has no name/],
    [
      "that uses names as functions",
      pickle(op.text("os.system"), args, op.reduce),
      /calls something other than a function/,
    ],
    [
      "that makes an object with NEWOBJ",
      pickle(op.global("collections", "OrderedDict"), op.emptyTuple, op.newObj),
      /makes an object of collections\.OrderedDict; only tensors/,
    ],
    [
      "that makes a module of TorchScript from arguments",
      pickle(op.global("__torch__", "Net"), args, op.newObj),
      /makes an object of __torch__\.Net/,
    ],
    [
      "that calls a module of TorchScript",
      pickle(op.global("__torch__.os", "system"), args, op.reduce),
      /calls __torch__\.os\.system with arguments/,
    ],
    [
      "that calls what PyTorch Lightning names",
      pickle(op.global("pytorch_lightning.callbacks.early_stopping", "EarlyStopping"), args, op.reduce),
      /calls pytorch_lightning\.callbacks\.early_stopping\.EarlyStopping with arguments/,
    ],
    [
      "whose key is another class",
      pickle(op.emptyDict, tensorGlobal, op.none, op.setItem),
      /a key is not a name/,
    ],
    [
      "that sets attributes of a tensor's class",
      pickle(tensorGlobal, op.emptyDict, op.build),
      /sets attributes of something other than a dict/,
    ],
    [
      "that sets attributes by a tuple",
      pickle(op.emptyDict, op.none, op.emptyDict, op.tuple2, op.build),
      /sets attributes of something other than a dict/,
    ],
    [
      "that calls a storage",
      pickle(op.global("torch", "FloatStorage"), args, op.reduce),
      /calls torch\.Float/,
    ],
    [
      "that makes a tensor of nothing",
      pickle(tensorGlobal, op.emptyTuple, op.reduce),
      /lacks a valid storage, offset, shape or strides/,
    ],
    [
      "that makes an OrderedDict from a list",
      pickle(op.global("collections", "OrderedDict"), op.emptyList, op.tuple1, op.reduce),
      /calls collections\.OrderedDict with arguments/,
    ],
    [
      "that refers to a persistent object",
      pickle(op.text("x"), op.persId),
      /persistent id does not name a storage/,
    ],
    ["with an unknown opcode", pickle(Buffer.from([0xff])), /opcode 0xff/],
    ["with an opcode of protocol 0", pickle(Buffer.from("S'os'\n")), /opcode 0x53/],
    ["of protocol 0", Buffer.from("(dp0\n."), /opcode 0x64/],
    ["of protocol 6", Buffer.concat([op.proto(6), op.none, op.stop]), /protocol is 6, not 2 to 5/],
    ["that nests deeply", pickle(repeated(op.mark, 5000)), /nested more than 1000 deep/],
    ["that fills its stack", pickle(repeated(op.none, 1_100_000)), /stack grows too large/],
    [
      "that fills its stack below a mark",
      pickle(repeated(op.none, 900_000), op.mark, repeated(op.none, 200_000)),
      /stack grows too large/,
    ],
    ["that remembers too much", pickle(op.none, repeated(op.memoize, 1_000_001)), /memoizes more than/],
    ["that goes on", pickle(op.emptyDict, repeated(op.shortPut, 5_000_000)), /has more than 5000000 opcodes/],
    ["with a long text", pickle(op.text("x".repeat(70_000))), /a string has 70000 bytes/],
    [
      "with a text longer than the file",
      Buffer.concat([op.proto(), Buffer.from([0x58, 0xff, 0xff, 0xff, 0xff])]),
      /a string has 4294967295 bytes/,
    ],
    ["with a long integer", pickle(Buffer.from([0x8a, 200])), /integer has 200 bytes/],
    [
      "with a large integer",
      pickle(Buffer.from([0x8a, 8, 1, 1, 1, 1, 1, 1, 1, 1])),
      /integer \d+ is too large/,
    ],
    ["that recalls what it has not made", pickle(op.longGet(7)), /refers to value 7/],
    ["that closes what it has not opened", pickle(op.tuple), /closes a list that it never opened/],
    ["that takes from an empty stack", pickle(op.tuple2), /takes a value from an empty stack/],
    ["that stops with an empty stack", pickle(), /takes a value from an empty stack/],
    ["that remembers nothing", pickle(op.longPut(0)), /takes a value from an empty stack/],
    [
      "that appends to a dict",
      pickle(op.emptyDict, op.none, op.append),
      /appends to something other than a list/,
    ],
    [
      "that sets items of a list",
      pickle(op.emptyList, op.none, op.none, op.setItem),
      /something other than a dict/,
    ],
    [
      "with a key without a value",
      pickle(op.emptyDict, op.mark, op.none, op.setItems),
      /key without a value/,
    ],
    ["with a tuple as a key", pickle(op.emptyDict, op.emptyTuple, op.none, op.setItem), /key is not a name/],
    ["that does not stop", statePickle({}).subarray(0, -1), /is truncated/],
    ["that ends within a name", Buffer.concat([op.proto(), Buffer.from("cos")]), /is truncated/],
    ["of a list", pickle(op.emptyList), /holds no dict of tensors/],
    [
      "of a dict in a dict",
      pickle(op.emptyDict, op.text("state_dict"), op.emptyDict, op.setItem),
      /no tensors by name, but state_dict/,
    ],
  ])("%s is refused", async (_, code, message) => {
    await expectRefused(zipFile(torchMembers(code)), message);
  });

  it("may hold itself, and the same list many times, without being copied", async () => {
    // Each list holds the one before it twice: written out, there would be 2^60 of them.
    const doubled = Array.from({ length: 60 }, (_, i) => [
      op.emptyList,
      op.longPut(i + 1),
      ...(i === 0 ? [] : [op.longGet(i), op.append, op.longGet(i), op.append]),
      op.append,
    ]).flat();
    const code = pickle(
      op.emptyDict,
      op.longPut(0),
      op.text("bomb"),
      op.emptyList,
      ...doubled,
      op.setItem,
      op.text("self"),
      op.longGet(0),
      op.setItem,
    );
    await expectRefused(zipFile(torchMembers(code)), /no tensors by name, but bomb, self/);
  });
});

describe("a tensor", () => {
  const huge = 2 ** 52;
  it.each<[string, Partial<TorchTensor>, RegExp]>([
    ["larger than its storage", { shape: [3] }, /shape \[3\] is larger than its storage of 2 elements/],
    ["of a huge shape", { shape: [huge, huge] }, /is larger than its storage/],
    [
      "beyond all numbers",
      { shape: new Array(16).fill(huge), strides: new Array(16).fill(1) },
      /is larger than its storage/,
    ],
    ["of many dimensions", { shape: new Array(17).fill(1) }, /has 17 dimensions/],
    ["that repeats a value for ever", { shape: [huge], strides: [0] }, /is larger than its storage/],
    ["behind its storage", { offset: 1 }, /offset 1 reach beyond its storage of 2 elements/],
    ["far behind its storage", { offset: huge }, /reach beyond its storage/],
    ["with strides beyond its storage", { strides: [2] }, /strides \[2\] and offset 0 reach beyond/],
    ["with a negative offset", { offset: -1 }, /lacks a valid storage, offset, shape or strides/],
    ["with a negative size", { shape: [-2] }, /lacks a valid storage, offset, shape or strides/],
    ["with a negative stride", { strides: [-1] }, /lacks a valid storage, offset, shape or strides/],
    ["with fewer strides than sizes", { strides: [] }, /lacks a valid storage, offset, shape or strides/],
    ["whose storage claims more", { claimed: 3 }, /storage 0 takes 12 bytes as F32, but has 8/],
    ["whose storage claims less", { claimed: 1, shape: [1] }, /storage 0 takes 4 bytes as F32, but has 8/],
    ["whose storage has a negative size", { claimed: -2 }, /storage 0 has no size/],
  ])("%s is refused", async (_, change, message) => {
    await expectRefused(torchFile({ a: { ...tensor, ...change } }), message);
  });

  it.each(["0", "../data.pkl", "version", ""])("whose storage %j is no member is refused", async (key) => {
    const code = statePickle({ a: { ...tensor, key } });
    await expectRefused(zipFile(torchMembers(code)), /tensor a: its storage .* is missing/);
  });
});

describe("a zip file", () => {
  const good = (): Member[] => torchMembers(statePickle({ a: tensor }), { "0": tensor.data });
  const changed = (name: string, change: Partial<Member>): Member[] =>
    good().map((member) => Object.assign(member, member.name === `archive/${name}` ? change : {}));

  it.each<[string, () => Buffer, RegExp]>([
    ["without a pickle", () => zipFile(good().slice(1)), /has no data\.pkl/],
    [
      "with a pickle that inflates to a gigabyte",
      () =>
        zipFile(
          changed("data.pkl", { method: 8, data: deflateRawSync(Buffer.alloc(2 ** 20)), size: 2 ** 30 }),
        ),
      /member archive\/data\.pkl is compressed/,
    ],
    [
      "with compressed weights",
      () => zipFile(changed("data/0", { method: 8 })),
      /archive\/data\/0 is compressed/,
    ],
    [
      "with encrypted weights",
      () => zipFile(changed("data/0", { flags: 1 })),
      /archive\/data\/0 is encrypted/,
    ],
    [
      "of the other byte order",
      () => zipFile(torchMembers(pickle(op.emptyDict), {}, "big")),
      /"big", expected/,
    ],
    ["with two pickles", () => zipFile([...good(), ...good()]), /two members are named archive\/data\.pkl/],
    ["with a member behind its end", () => zipFile(changed("data/0", { headerOffset: 1e6 })), /outside of/],
    ["with a member of another header", () => zipFile(changed("data/0", { headerOffset: 3 })), /is damaged/],
    [
      "with a member on another",
      () => zipFile(changed("data/0", { headerOffset: 0 })),
      /members archive\/data\.pkl and archive\/data\/0 overlap|storage 0 takes|overlap/,
    ],
    [
      "with a member of more than the file",
      () => zipFile(changed("data/0", { size: 1e9, storedSize: 1e9 })),
      /archive\/data\/0 \[\d+, \d+\) lies outside of the file/,
    ],
    ["with two sizes of a member", () => zipFile(changed("data/0", { size: 7 })), /in 8 bytes instead of 7/],
    ["with fewer members than claimed", () => zipFile(good(), { count: 9 }), /lists fewer members/],
    [
      "with an absurd count",
      () => zipFile(good(), { count: 2 ** 40, zip64: true }),
      /claims 1099511627776 members/,
    ],
    [
      "with a pickle beyond the limit",
      () => zipFile(torchMembers(Buffer.alloc(65 * 2 ** 20))),
      /the limit is 67108864/,
    ],
  ])("%s is refused", async (_, content, message) => {
    await expectRefused(content(), message);
  });

  it.each([0, 3, 4, 21, 22, 100])("cut to %d bytes is refused", async (length) => {
    await expectRefused(torchFile({ a: tensor }).subarray(0, length), /ended|not a zip file|truncated/);
  });

  it("that is a page of HTML or a pointer to a large file is refused", async () => {
    await expectRefused(Buffer.from("<!doctype html><p>Not found</p>"), /it is not a zip file/);
    await expectRefused(Buffer.from("version https://git-lfs.github.com/spec/v1\n"), /it is not a zip file/);
  });

  it("is read or refused by a CheckpointError, whatever bytes are changed in it", async () => {
    const fixture = join(import.meta.dirname, "..", "fixtures", "torch", "state-dict.bin");
    for (const original of [await readFile(fixture), torchFile({ a: tensor }, true)]) {
      const changes = array(tuple(nat(original.length - 1), integer({ min: 0, max: 255 })), {
        minLength: 1,
        maxLength: 6,
      });
      await assert(
        asyncProperty(changes, nat(original.length), async (edits, length) => {
          const bytes = Uint8Array.from(original);
          for (const [at, value] of edits) bytes[at] = value;
          await writeFile(path, bytes.subarray(0, edits.length % 3 === 0 ? length : undefined));
          try {
            const file = TorchFile.open(path);
            try {
              for (const name of file.entries.keys()) file.read(name);
            } finally {
              file.close();
            }
          } catch (error) {
            expect(error).toBeInstanceOf(CheckpointError);
          }
        }),
        { numRuns: 1000 },
      );
    }
  });
});
