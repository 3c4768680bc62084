// Parts of ONNX models as protocol buffers: types, attributes and descriptions of values.

import protobuf from "protobufjs/minimal.js";

type Writer = protobuf.Writer;

/** Data types of onnx.proto's TensorProto. */
export const DataType = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
} as const;
export type ElementType = keyof typeof DataType;
/** A size, or the name of one that is known at run time only. */
export type Dimension = number | string;
export type Attribute = number | readonly number[] | string | { float: number } | { graph: Uint8Array };

// Protocol buffer wire types. The field numbers in this file are those of onnx.proto (ONNX IR 8).
export const VARINT = 0;
export const LEN = 2;
const FIXED32 = 5;
export const tag = (field: number, wireType: number): number => (field << 3) | wireType;

export function attribute(name: string, value: Attribute): Uint8Array {
  const writer = protobuf.Writer.create().uint32(tag(1, LEN)).string(name);
  const ofType = (type: number): Writer => writer.uint32(tag(20, VARINT)).int32(type);
  if (typeof value === "number") {
    writer.uint32(tag(3, VARINT)).int64(value);
    return ofType(2).finish();
  }
  if (typeof value === "string") {
    writer.uint32(tag(4, LEN)).string(value);
    return ofType(3).finish();
  }
  if ("graph" in value) {
    writer.uint32(tag(6, LEN)).bytes(value.graph);
    return ofType(5).finish();
  }
  if ("float" in value) {
    writer.uint32(tag(2, FIXED32)).float(value.float);
    return ofType(1).finish();
  }
  for (const item of value) writer.uint32(tag(8, VARINT)).int64(item);
  return ofType(7).finish();
}

/** Without a shape, that is inferred. */
export function valueInfo(name: string, type: ElementType, shape?: readonly Dimension[]): Uint8Array {
  const dimensions = protobuf.Writer.create();
  for (const size of shape ?? []) {
    const dimension = protobuf.Writer.create();
    if (typeof size === "number") dimension.uint32(tag(1, VARINT)).int64(size);
    else dimension.uint32(tag(2, LEN)).string(size);
    dimensions.uint32(tag(1, LEN)).bytes(dimension.finish());
  }
  const tensor = protobuf.Writer.create();
  tensor.uint32(tag(1, VARINT)).int32(DataType[type]);
  if (shape !== undefined) tensor.uint32(tag(2, LEN)).bytes(dimensions.finish());
  const typeProto = protobuf.Writer.create().uint32(tag(1, LEN)).bytes(tensor.finish());
  return protobuf.Writer.create()
    .uint32(tag(1, LEN))
    .string(name)
    .uint32(tag(2, LEN))
    .bytes(typeProto.finish())
    .finish();
}
