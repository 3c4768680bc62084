// Reads the pickle of a PyTorch file: tensors and plain values. Everything else that a pickle can do is refused by name.

import type { CheckpointError } from "../errors.ts";
import { PickleReader } from "./pickle-reader.ts";
import {
  PickleGlobal,
  PickleModule,
  PickleStorage,
  PickleTensor,
  PickleTuple,
  type PickleValue,
} from "./pickle-values.ts";
import { FUNCTIONS, KEYS, REFUSED_OPCODES, SCRIPTED, STORAGE_TYPES } from "./pickle-names.ts";

// A state dict takes about 40 opcodes and 3 stack entries per tensor; these limits are far above that.
const MAX_OPCODES = 5_000_000;
const MAX_STACK = 1_000_000;
const MAX_MARKS = 1000;
const MAX_MEMO = 1_000_000;
/** Most characters of a name from the file that an error repeats. */
const MAX_SHOWN = 120;

/**
 * The value that `bytes` describe; `path` is the file's, for errors. Follows Python's pickletools for protocols 2 to 5, as
 * far as torch.save uses them: nothing is imported or called. Throws a CheckpointError.
 */
export const unpickle = (path: string, bytes: Buffer): PickleValue =>
  new Unpickler(new PickleReader(path, bytes)).load();

class Unpickler {
  readonly #reader: PickleReader;
  readonly #memo = new Map<number, PickleValue>();
  #stack: PickleValue[] = [];
  /** The stack below each mark that is still open. */
  readonly #below: PickleValue[][] = [];
  #belowSize = 0;

  constructor(reader: PickleReader) {
    this.#reader = reader;
  }

  load(): PickleValue {
    for (let count = 0; count < MAX_OPCODES; count++) {
      const code = this.#reader.byte();
      if (code === 0x2e /* STOP */) return this.#pop();
      this.#step(code);
      if (this.#belowSize + this.#stack.length > MAX_STACK) throw this.#fail("its stack grows too large");
    }
    throw this.#fail(`it has more than ${MAX_OPCODES} opcodes`);
  }

  #step(code: number): void {
    switch (code) {
      case 0x4e: // NONE
        return this.#push(null);
      case 0x88: // NEWTRUE
        return this.#push(true);
      case 0x89: // NEWFALSE
        return this.#push(false);
      case 0x80: // PROTO
        return this.#protocol(this.#reader.byte());
      case 0x95: // FRAME, a hint for buffered readers
        this.#reader.skip(8);
        return;
      case 0x28: // MARK
        return this.#mark();
      case 0x29: // EMPTY_TUPLE
        return this.#push(new PickleTuple([]));
      case 0x5d: // EMPTY_LIST
        return this.#push([]);
      case 0x7d: // EMPTY_DICT
        return this.#push(new Map());
      case 0x4a: // BININT
        return this.#push(this.#reader.int32());
      case 0x4b: // BININT1
        return this.#push(this.#reader.byte());
      case 0x4d: // BININT2
        return this.#push(this.#reader.uint16());
      case 0x8a: // LONG1
        return this.#push(this.#reader.integer(this.#reader.byte()));
      case 0x47: // BINFLOAT
        return this.#push(this.#reader.double());
      case 0x8c: // SHORT_BINUNICODE
        return this.#push(this.#reader.text(this.#reader.byte()));
      case 0x58: // BINUNICODE
        return this.#push(this.#reader.text(this.#reader.uint32()));
      case 0x74: // TUPLE
        return this.#push(new PickleTuple(this.#popMark()));
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.#push(new PickleTuple(this.#popMany(code - 0x84)));
      case 0x61: // APPEND
        return this.#append(this.#popMany(1));
      case 0x65: // APPENDS
        return this.#append(this.#popMark());
      case 0x73: // SETITEM
        return this.#setItems(this.#popMany(2));
      case 0x75: // SETITEMS
        return this.#setItems(this.#popMark());
      case 0x71: // BINPUT
        return this.#remember(this.#reader.byte());
      case 0x72: // LONG_BINPUT
        return this.#remember(this.#reader.uint32());
      case 0x94: // MEMOIZE
        return this.#remember(this.#memo.size);
      case 0x68: // BINGET
        return this.#push(this.#recall(this.#reader.byte()));
      case 0x6a: // LONG_BINGET
        return this.#push(this.#recall(this.#reader.uint32()));
      case 0x63: // GLOBAL
        return this.#push(this.#global(`${this.#reader.line()}.${this.#reader.line()}`));
      case 0x93: // STACK_GLOBAL
        return this.#push(this.#stackGlobal(this.#popMany(2)));
      case 0x51: // BINPERSID
        return this.#push(this.#storage(this.#pop()));
      case 0x52: // REDUCE
        return this.#push(this.#call(this.#popMany(2)));
      case 0x81: // NEWOBJ
        return this.#push(this.#module(this.#popMany(2)));
      case 0x62: // BUILD
        return this.#build(this.#pop());
      default:
        throw this.#fail(
          `the opcode ${REFUSED_OPCODES[code] ?? `0x${code.toString(16)}`} is not used for tensors`,
        );
    }
  }

  #protocol(version: number): void {
    if (version < 2 || version > 5) throw this.#fail(`its protocol is ${version}, not 2 to 5`);
  }

  #mark(): void {
    if (this.#below.length === MAX_MARKS) throw this.#fail(`it is nested more than ${MAX_MARKS} deep`);
    this.#below.push(this.#stack);
    this.#belowSize += this.#stack.length;
    this.#stack = [];
  }

  #popMark(): PickleValue[] {
    const items = this.#stack;
    const below = this.#below.pop();
    if (below === undefined) throw this.#fail("it closes a list that it never opened");
    this.#belowSize -= below.length;
    this.#stack = below;
    return items;
  }

  #push(value: PickleValue): void {
    this.#stack.push(value);
  }

  #pop(): PickleValue {
    const value = this.#stack.pop();
    if (value === undefined) throw this.#fail("it takes a value from an empty stack");
    return value;
  }

  #popMany(count: number): PickleValue[] {
    if (this.#stack.length < count) throw this.#fail("it takes a value from an empty stack");
    return this.#stack.splice(this.#stack.length - count);
  }

  #top(): PickleValue {
    const value = this.#stack.at(-1);
    if (value === undefined) throw this.#fail("it takes a value from an empty stack");
    return value;
  }

  #append(items: readonly PickleValue[]): void {
    const list = this.#top();
    if (!Array.isArray(list)) throw this.#fail("it appends to something other than a list");
    for (const item of items) list.push(item);
  }

  #setItems(items: readonly PickleValue[]): void {
    const dict = this.#top();
    if (!(dict instanceof Map)) throw this.#fail("it sets items of something other than a dict");
    if (items.length % 2 !== 0) throw this.#fail("it sets a key without a value");
    for (let i = 0; i < items.length; i += 2) {
      const [given = null, value = null] = items.slice(i, i + 2);
      const key = given instanceof PickleGlobal && KEYS.has(given.name) ? given.name : given;
      if (typeof key !== "string" && typeof key !== "number") throw this.#fail("a key is not a name");
      dict.set(key, value);
    }
  }

  #remember(index: number): void {
    if (this.#memo.size === MAX_MEMO) throw this.#fail(`it memoizes more than ${MAX_MEMO} values`);
    this.#memo.set(index, this.#top());
  }

  #recall(index: number): PickleValue {
    const value = this.#memo.get(index);
    if (value === undefined) throw this.#fail(`it refers to value ${index}, which it has not memoized`);
    return value;
  }

  #stackGlobal([module, name]: readonly PickleValue[]): PickleGlobal {
    if (typeof module !== "string" || typeof name !== "string") throw this.#fail("a class has no name");
    return this.#global(`${module}.${name}`);
  }

  #global(name: string): PickleGlobal {
    const isKnown = FUNCTIONS.has(name) || KEYS.has(name) || Object.hasOwn(STORAGE_TYPES, name);
    if (!isKnown && !name.startsWith(SCRIPTED)) {
      throw this.#fail(`it refers to ${shown(name)}, which may run code; only tensors are read`);
    }
    return new PickleGlobal(name);
  }

  #storage(id: PickleValue): PickleStorage {
    const [kind, type, key, location, size] = id instanceof PickleTuple ? id.items : [];
    const dtype = type instanceof PickleGlobal ? STORAGE_TYPES[type.name] : undefined;
    if (
      kind !== "storage" ||
      dtype === undefined ||
      typeof key !== "string" ||
      typeof location !== "string"
    ) {
      throw this.#fail("a persistent id does not name a storage");
    }
    if (!isCount(size)) throw this.#fail(`storage ${shown(key)} has no size`);
    return new PickleStorage(dtype, key, size);
  }

  #call([callee, args]: readonly PickleValue[]): PickleValue {
    if (!(callee instanceof PickleGlobal)) throw this.#fail("it calls something other than a function");
    if (!(args instanceof PickleTuple)) throw this.#fail(`it calls ${callee.name} without arguments`);
    const [first] = args.items;
    switch (callee.name) {
      case "collections.OrderedDict":
        // Its items are set by later opcodes.
        if (first === undefined) return new Map();
        break;
      case "torch.Size":
        if (first instanceof PickleTuple) return first;
        break;
      case "torch._utils._rebuild_parameter":
        if (first instanceof PickleTensor) return first;
        break;
      case "torch._utils._rebuild_tensor_v2":
        return this.#tensor(args.items);
      default:
    }
    throw this.#fail(`it calls ${callee.name} with arguments that torch.save never writes`);
  }

  #tensor([storage, offset, shape, strides]: readonly PickleValue[]): PickleTensor {
    if (
      !(storage instanceof PickleStorage) ||
      !isCount(offset) ||
      !(shape instanceof PickleTuple && shape.items.every(isCount)) ||
      !(strides instanceof PickleTuple && strides.items.every(isCount)) ||
      shape.items.length !== strides.items.length
    ) {
      throw this.#fail("a tensor lacks a valid storage, offset, shape or strides");
    }
    return new PickleTensor(storage, offset, shape.items, strides.items);
  }

  #module([callee, args]: readonly PickleValue[]): PickleModule {
    const isModule = callee instanceof PickleGlobal && callee.name.startsWith(SCRIPTED);
    if (!isModule || !(args instanceof PickleTuple) || args.items.length > 0) {
      const name = callee instanceof PickleGlobal ? callee.name : "something other than a class";
      throw this.#fail(
        `it makes an object of ${shown(name)}; only tensors and TorchScript's modules are read`,
      );
    }
    return new PickleModule();
  }

  /** A module's state dict has its version history as an attribute, which is not needed here. */
  #build(state: PickleValue): void {
    const target = this.#top();
    if (target instanceof PickleModule && state instanceof Map) {
      for (const [name, value] of state) target.attributes.set(name, value);
    } else if (!(target instanceof Map && state instanceof Map)) {
      throw this.#fail("it sets attributes of something other than a dict");
    }
  }

  #fail(reason: string): CheckpointError {
    return this.#reader.fail(reason);
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** A name from the file: kept short, and on one line. */
const shown = (name: string): string => {
  const printable = name.replace(/[^\x20-\x7e]/g, "?");
  return printable.length > MAX_SHOWN ? `${printable.slice(0, MAX_SHOWN)}...` : printable;
};
