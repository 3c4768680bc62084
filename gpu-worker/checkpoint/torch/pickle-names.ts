// The classes, functions and opcodes that pickles of PyTorch use or must not use.

import type { Dtype } from "../weights/tensor.ts";

/** Element types by the storage class that torch.save names. */
export const STORAGE_TYPES: Readonly<Record<string, Dtype>> = {
  "torch.DoubleStorage": "F64",
  "torch.FloatStorage": "F32",
  "torch.HalfStorage": "F16",
  "torch.BFloat16Storage": "BF16",
  "torch.LongStorage": "I64",
  "torch.IntStorage": "I32",
  "torch.ShortStorage": "I16",
  "torch.CharStorage": "I8",
  "torch.ByteStorage": "U8",
  "torch.BoolStorage": "BOOL",
  "torch.storage.UntypedStorage": "U8",
};
/** The Python functions that are recognized; none is called, each has its case in `#call`. */
export const FUNCTIONS = new Set([
  "collections.OrderedDict",
  "torch.Size",
  "torch._utils._rebuild_tensor_v2",
  "torch._utils._rebuild_parameter",
]);
/** Classes that PyTorch Lightning names as keys of a checkpoint's callbacks. A name runs nothing; calling it is refused. */
export const KEYS = new Set([
  "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
  "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
]);
/** TorchScript's modules are named after their Python classes, under this; their code is in other members, never read. */
export const SCRIPTED = "__torch__.";

/** Names, for errors, of opcodes that create or call objects of any class, or belong to old protocols. */
export const REFUSED_OPCODES: Readonly<Record<number, string>> = {
  0x30: "POP",
  0x32: "DUP",
  0x42: "BINBYTES",
  0x43: "SHORT_BINBYTES",
  0x50: "PERSID",
  0x69: "INST",
  0x6f: "OBJ",
  0x82: "EXT1",
  0x83: "EXT2",
  0x84: "EXT4",
  0x8b: "LONG4",
  0x8d: "BINUNICODE8",
  0x8e: "BINBYTES8",
  0x8f: "EMPTY_SET",
  0x92: "NEWOBJ_EX",
  0x96: "BYTEARRAY8",
  0x97: "NEXT_BUFFER",
};
