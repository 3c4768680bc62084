// The values that the pickle of a PyTorch file can contain.

import type { Dtype } from "../weights/tensor.ts";

export class PickleTuple {
  readonly items: readonly PickleValue[];
  constructor(items: readonly PickleValue[]) {
    this.items = items;
  }
}

/** A class or function that the pickle names. */
export class PickleGlobal {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** The data of one or more tensors: a member of the file. */
export class PickleStorage {
  readonly dtype: Dtype;
  readonly key: string;
  /** Number of elements. */
  readonly size: number;
  constructor(dtype: Dtype, key: string, size: number) {
    this.dtype = dtype;
    this.key = key;
    this.size = size;
  }
}

/** A view of a storage; offset and strides are in elements. */
export class PickleTensor {
  readonly storage: PickleStorage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  constructor(storage: PickleStorage, offset: number, shape: readonly number[], strides: readonly number[]) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

/** A module of TorchScript: its parameters, buffers and submodules by name. */
export class PickleModule {
  readonly attributes: PickleDict = new Map();
}

export type PickleDict = Map<PickleValue, PickleValue>;
export type PickleValue =
  | null
  | boolean
  | number
  | string
  | PickleValue[]
  | PickleDict
  | PickleTuple
  | PickleGlobal
  | PickleStorage
  | PickleTensor
  | PickleModule;
