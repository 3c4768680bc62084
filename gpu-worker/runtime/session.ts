// onnxruntime sessions whose inputs are checked before each run.

import { forbidTf32 } from "./device.ts";
import {
  createRuntime,
  type Provider,
  type Runtime,
  type SessionOptions,
  type Tensor,
  tensorOf,
} from "./onnxruntime.ts";
import { ThreadedRuntime } from "./threaded-runtime.ts";

export { type Provider, RUNTIME_VERSION, type SessionOptions, type Tensor } from "./onnxruntime.ts";

export class Session {
  readonly #session: Runtime;

  private constructor(session: Runtime) {
    this.#session = session;
  }

  /** Loads the graph at `path`. For a provider that this machine cannot run, throws an error that says what it needs. */
  static async create(path: string, options: SessionOptions): Promise<Session> {
    const { provider, ownThread = false } = options;
    if (provider === "cuda") forbidTf32();
    const isThreaded = ownThread || provider === "webgpu";
    try {
      return new Session(
        isThreaded ? await ThreadedRuntime.create(path, options) : await createRuntime(path, options),
      );
    } catch (cause) {
      if (provider === "cpu") throw cause;
      throw new Error(`the ${provider} provider cannot run the model: ${PROVIDER_NEEDS[provider]}`, {
        cause,
      });
    }
  }

  /**
   * Runs the graph and returns the output named `output`, written to `into` if that is given. Throws an error that names
   * any missing inputs.
   */
  async run(inputs: Readonly<Record<string, Tensor>>, output: string, into?: Tensor): Promise<Tensor> {
    const { [output]: tensor } = await this.runAll(inputs, [output], into);
    if (tensor === undefined) throw new Error(`the graph has no output ${output}`);
    return tensor;
  }

  /** Runs the graph and returns the outputs of these names, `into` being where to write the only one. */
  async runAll(
    inputs: Readonly<Record<string, Tensor>>,
    outputs: readonly string[],
    into?: Tensor,
  ): Promise<Readonly<Record<string, Tensor>>> {
    const missing = this.#session.inputNames.filter((name) => !(name in inputs));
    if (missing.length > 0) throw new Error(`missing inputs: ${missing.join(", ")}`);
    return this.#session.run(inputs, outputs, into);
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

const PROVIDER_NEEDS: Record<Exclude<Provider, "cpu">, string> = {
  webgpu:
    "it needs a GPU with a Vulkan, Metal or Direct3D 12 driver, on Linux with the loader libvulkan.so.1, " +
    "and in a container with NVIDIA's capability `graphics`",
  cuda:
    "it needs an NVIDIA GPU with CUDA 13 and cuDNN 9 (libcudart.so.13, libcublas.so.13 and libcudnn.so.9) and the runtime's " +
    "CUDA library; install that with " +
    "`ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install.js` (the name is older than the library)",
};

/** Floats in shared memory, which a session on its own thread reads and writes in place, without a copy. */
export const sharedFloats = (length: number): Float32Array =>
  new Float32Array(new SharedArrayBuffer(length * Float32Array.BYTES_PER_ELEMENT));

export function floatTensor(data: Float32Array, dims: readonly number[]): Tensor {
  return tensorOf({ type: "float32", data, dims });
}

/** An int64 tensor, the type in which the graphs take ids. */
export function intTensor(data: ArrayLike<number>, dims: readonly number[]): Tensor {
  return tensorOf({
    type: "int64",
    data: BigInt64Array.from(data as ArrayLike<number> & Iterable<number>, BigInt),
    dims,
  });
}

/** An int32 tensor, the type in which graphs that draw take ids. */
export const int32Tensor = (data: Int32Array, dims: readonly number[]): Tensor =>
  tensorOf({ type: "int32", data, dims });

/** One truth value, which graphs take to choose a branch. */
export const boolTensor = (value: boolean): Tensor =>
  tensorOf({ type: "bool", data: Uint8Array.of(value ? 1 : 0), dims: [1] });

export function byteLength({ data }: Tensor): number {
  if (!ArrayBuffer.isView(data)) throw new Error("the tensor's values are not in memory");
  return data.byteLength;
}

/** The values of an int32 tensor. */
export function int32Data(tensor: Tensor): Int32Array {
  if (!(tensor.data instanceof Int32Array)) throw new Error(`expected an int32 tensor, got ${tensor.type}`);
  return tensor.data;
}

/** The values of a float32 tensor. */
export function floatData(tensor: Tensor): Float32Array {
  if (!(tensor.data instanceof Float32Array))
    throw new Error(`expected a float32 tensor, got ${tensor.type}`);
  return tensor.data;
}
