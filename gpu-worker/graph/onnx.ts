// Writes ONNX models: nodes and small constants in the graph, weights in a file beside it.

import { closeSync, fsyncSync, openSync, writeFileSync, writeSync } from "node:fs";
import { basename } from "node:path";
import protobuf from "protobufjs/minimal.js";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import {
  type Attribute,
  attribute,
  DataType,
  type Dimension,
  type ElementType,
  LEN,
  tag,
  VARINT,
  valueInfo,
} from "./onnx/wire.ts";

export type { Dimension, ElementType } from "./onnx/wire.ts";

/** Types in which products, attention and norms are computed. */
export type FloatType = "float32" | "float16";

type ConstantData = Float32Array | Float16Array | BigInt64Array | Int32Array | Int8Array | Uint8Array;

function elementType(data: ConstantData): ElementType {
  if (data instanceof Float32Array) return "float32";
  if (data instanceof Float16Array) return "float16";
  if (data instanceof Int32Array) return "int32";
  if (data instanceof BigInt64Array) return "int64";
  return data instanceof Int8Array ? "int8" : "uint8";
}

/** The newest operator set implemented by all onnxruntime 1.30 providers that we use. */
const OPSET_VERSION = 17;
/** onnxruntime's own operators. */
const CONTRIB_DOMAIN = "com.microsoft";
const IR_VERSION = 8;
/** Page-aligned, so that the runtime can map the file instead of reading it. */
const WEIGHT_ALIGNMENT = 4096;
/** Smaller constants are stored in the graph itself. */
const INLINE_BYTES = 1024;

interface ExternalRange {
  readonly offset: number;
  readonly length: number;
}

/** Builds one graph; the strings that its methods return are names of values. */
export class GraphBuilder {
  readonly #name: string;
  #nodes: Uint8Array[] = [];
  readonly #initializers: Uint8Array[] = [];
  readonly #inputs: Uint8Array[] = [];
  readonly #outputs: Uint8Array[] = [];
  readonly #weightsPath: string;
  readonly #weightsFd: number;
  readonly #graphPath: string;
  #weightBytes = 0;
  #counter = 0;

  /** Weights are streamed to `<path>.weights` while the graph is being built; `finish` writes `path` itself. */
  constructor(name: string, path: string) {
    this.#name = name;
    this.#graphPath = path;
    this.#weightsPath = `${path}.weights`;
    this.#weightsFd = openSync(this.#weightsPath, "w");
  }

  input(name: string, type: ElementType, shape: readonly Dimension[]): string {
    this.#inputs.push(valueInfo(name, type, shape));
    return name;
  }

  output(name: string, type: ElementType, shape: readonly Dimension[], value: string): void {
    this.#node("Identity", [value], [name], {}, "");
    this.#outputs.push(valueInfo(name, type, shape));
  }

  /**
   * A constant: small ones inline, large ones in the weights file. int64 constants are shapes, axes and sizes, which the
   * runtime's shape inference can read only inline; a Split into 144 parts has more than a kilobyte of them.
   */
  constant(data: ConstantData, shape: readonly number[]): string {
    const name = this.#fresh("w");
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const type = elementType(data);
    const isWeight = type !== "int64" && bytes.length > INLINE_BYTES;
    const external = isWeight ? this.#writeWeights(bytes) : undefined;
    this.#initializers.push(this.#tensor(name, type, shape, external ?? bytes));
    return name;
  }

  scalar(value: number, type: FloatType = "float32"): string {
    return this.constant(type === "float16" ? Float16Array.of(value) : Float32Array.of(value), []);
  }

  /** A weight, rounded to `type`. Throws a RangeError if a value is too large for it. */
  floats(data: Float32Array, shape: readonly number[], type: FloatType): string {
    if (type === "float32") return this.constant(data, shape);
    const rounded = Float16Array.from(data);
    if (!rounded.every(Number.isFinite)) throw new RangeError("a weight is too large for float16");
    return this.constant(rounded, shape);
  }

  /** `value` as `type`; the runtime removes casts that change nothing. */
  cast(value: string, type: ElementType): string {
    return this.op("Cast", [value], { to: DataType[type] });
  }

  /** One-dimensional int64 constant: a shape, axes or sizes. */
  ints(values: readonly number[]): string {
    return this.constant(BigInt64Array.from(values, BigInt), [values.length]);
  }

  /** A node with one output. */
  op(type: string, inputs: readonly string[], attributes: Record<string, Attribute> = {}): string {
    const output = this.#fresh(type);
    this.#node(type, inputs, [output], attributes, "");
    return output;
  }

  /** A node with one output, from onnxruntime's own operator set. */
  contribOp(type: string, inputs: readonly string[], attributes: Record<string, Attribute> = {}): string {
    const output = this.#fresh(type);
    this.#node(type, inputs, [output], attributes, CONTRIB_DOMAIN);
    return output;
  }

  /** A node with several outputs, from onnxruntime's own operator set; those that are not `wanted` are left out. */
  contribOps(
    type: string,
    inputs: readonly string[],
    attributes: Record<string, Attribute>,
    wanted: readonly boolean[],
  ): string[] {
    const outputs = wanted.map((isWanted) => (isWanted ? this.#fresh(type) : ""));
    this.#node(type, inputs, outputs, attributes, CONTRIB_DOMAIN);
    return outputs;
  }

  /**
   * What `whenTrue` makes if `condition`, a bool [1] that the host reads, is true, else what `whenFalse` makes: a value of `type`.
   * Only the nodes of that branch are computed.
   */
  either(
    condition: string,
    type: ElementType,
    { whenTrue, whenFalse }: { whenTrue: () => string; whenFalse: () => string },
  ): string {
    const output = this.#fresh("If");
    this.#node(
      "If",
      [condition],
      [output],
      {
        then_branch: { graph: this.#subgraph(`${output}_then`, type, whenTrue) },
        else_branch: { graph: this.#subgraph(`${output}_else`, type, whenFalse) },
      },
      "",
    );
    return output;
  }

  /** The nodes that `make` adds, as a graph of their own. Its constants are those of the whole graph. */
  #subgraph(name: string, type: ElementType, make: () => string): Uint8Array {
    const outer = this.#nodes;
    this.#nodes = [];
    try {
      const value = make();
      this.#node("Identity", [value], [name], {}, "");
      const graph = protobuf.Writer.create();
      for (const node of this.#nodes) graph.uint32(tag(1, LEN)).bytes(node);
      graph.uint32(tag(2, LEN)).string(name);
      return graph.uint32(tag(12, LEN)).bytes(valueInfo(name, type)).finish();
    } finally {
      this.#nodes = outer;
    }
  }

  /** Splits `value` along `axis` into parts of the given sizes. */
  split(value: string, sizes: readonly number[], axis: number): string[] {
    const outputs = sizes.map(() => this.#fresh("Split"));
    this.#node("Split", [value, this.ints(sizes)], outputs, { axis }, "");
    return outputs;
  }

  /** Writes the graph; its files are complete and flushed to disk only when this returns. */
  finish(): void {
    fsyncSync(this.#weightsFd);
    writeFileSync(this.#graphPath, this.#model(), { flush: true });
    closeSync(this.#weightsFd);
  }

  /** Closes the weights file of a graph that is not finished. */
  abandon(): void {
    closeSync(this.#weightsFd);
  }

  #fresh(prefix: string): string {
    return `${prefix}_${this.#counter++}`;
  }

  #node(
    type: string,
    inputs: readonly string[],
    outputs: readonly string[],
    attributes: Record<string, Attribute>,
    domain: string,
  ): void {
    const node = protobuf.Writer.create();
    for (const input of inputs) node.uint32(tag(1, LEN)).string(input);
    for (const output of outputs) node.uint32(tag(2, LEN)).string(output);
    node.uint32(tag(3, LEN)).string(outputs[0] ?? outOfBounds());
    node.uint32(tag(4, LEN)).string(type);
    for (const [name, value] of Object.entries(attributes))
      node.uint32(tag(5, LEN)).bytes(attribute(name, value));
    if (domain !== "") node.uint32(tag(7, LEN)).string(domain);
    this.#nodes.push(node.finish());
  }

  #writeWeights(bytes: Uint8Array): ExternalRange {
    const padding = -this.#weightBytes & (WEIGHT_ALIGNMENT - 1);
    if (padding > 0) this.#append(new Uint8Array(padding));
    const offset = this.#weightBytes;
    this.#append(bytes);
    return { offset, length: bytes.length };
  }

  #append(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) done += writeSync(this.#weightsFd, bytes, done);
    this.#weightBytes += bytes.length;
  }

  #tensor(
    name: string,
    type: ElementType,
    shape: readonly number[],
    data: Uint8Array | ExternalRange,
  ): Uint8Array {
    const tensor = protobuf.Writer.create();
    for (const size of shape) tensor.uint32(tag(1, VARINT)).int64(size);
    tensor.uint32(tag(2, VARINT)).int32(DataType[type]);
    tensor.uint32(tag(8, LEN)).string(name);
    if (data instanceof Uint8Array) return tensor.uint32(tag(9, LEN)).bytes(data).finish();
    const entries = {
      location: basename(this.#weightsPath),
      offset: `${data.offset}`,
      length: `${data.length}`,
    };
    for (const [key, value] of Object.entries(entries)) {
      const entry = protobuf.Writer.create()
        .uint32(tag(1, LEN))
        .string(key)
        .uint32(tag(2, LEN))
        .string(value);
      tensor.uint32(tag(13, LEN)).bytes(entry.finish());
    }
    const EXTERNAL = 1;
    return tensor.uint32(tag(14, VARINT)).int32(EXTERNAL).finish();
  }

  #model(): Uint8Array {
    const graph = protobuf.Writer.create();
    const field = (number: number, messages: readonly Uint8Array[]): void => {
      for (const message of messages) graph.uint32(tag(number, LEN)).bytes(message);
    };
    field(1, this.#nodes);
    graph.uint32(tag(2, LEN)).string(this.#name);
    field(5, this.#initializers);
    field(11, this.#inputs);
    field(12, this.#outputs);

    const model = protobuf.Writer.create();
    model.uint32(tag(1, VARINT)).int64(IR_VERSION);
    model.uint32(tag(2, LEN)).string("vqd");
    model.uint32(tag(7, LEN)).bytes(graph.finish());
    for (const [domain, version] of [
      ["", OPSET_VERSION],
      [CONTRIB_DOMAIN, 1],
    ] as const) {
      const opset = protobuf.Writer.create()
        .uint32(tag(1, LEN))
        .string(domain)
        .uint32(tag(2, VARINT))
        .int64(version);
      model.uint32(tag(8, LEN)).bytes(opset.finish());
    }
    return model.finish();
  }
}
