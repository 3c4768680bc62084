// The only import of onnxruntime: sessions on a provider, with their inputs checked before each run.

import { createRequire } from "node:module";
import * as ort from "onnxruntime-node";

export type Provider = "cpu" | "webgpu" | "cuda";
export type Tensor = ort.Tensor;

/** Version of the runtime, part of the numerics id. */
export const RUNTIME_VERSION: string = (
  createRequire(import.meta.url)("onnxruntime-node/package.json") as { version: string }
).version;

export interface SessionOptions {
  readonly provider: Provider;
  /** Threads of one operator; only the CPU provider uses them. */
  readonly threads: number;
  /**
   * Whether the memory of a run is kept for the next one [true]. Keeping it saves the system's work on every run of a
   * loop; what runs once per picture gives it back.
   */
  readonly keepsMemory?: boolean;
}

/**
 * onnxruntime's "fatal": its warnings are about graph details that nobody can act on, and its errors come as
 * exceptions too. Libraries are loaded outside of sessions, by what `env` says.
 */
const LOG_SEVERITY_FATAL = 4;
ort.env.logLevel = "fatal";

export class Session {
  readonly #session: ort.InferenceSession;

  private constructor(session: ort.InferenceSession) {
    this.#session = session;
  }

  /** Loads the graph at `path`. A provider that this machine cannot run is an error that says what it needs. */
  static async create(
    path: string,
    { provider, threads, keepsMemory = true }: SessionOptions,
  ): Promise<Session> {
    try {
      const session = await ort.InferenceSession.create(path, {
        executionProviders: [provider],
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        graphOptimizationLevel: "all",
        enableCpuMemArena: keepsMemory,
        logSeverityLevel: LOG_SEVERITY_FATAL,
      });
      return new Session(session);
    } catch (cause) {
      if (provider === "cpu") throw cause;
      throw new Error(`the ${provider} provider cannot run the model: ${PROVIDER_NEEDS[provider]}`, {
        cause,
      });
    }
  }

  /**
   * Runs the graph and returns its output `output`, which is written to `into` if that is given; throws when inputs are
   * missing, naming them.
   */
  async run(
    inputs: Readonly<Record<string, ort.Tensor>>,
    output: string,
    into?: ort.Tensor,
  ): Promise<ort.Tensor> {
    const missing = this.#session.inputNames.filter((name) => !(name in inputs));
    if (missing.length > 0) throw new Error(`missing inputs: ${missing.join(", ")}`);
    const outputs = await this.#session.run(inputs, into === undefined ? [output] : { [output]: into });
    const tensor = outputs[output];
    if (tensor === undefined) throw new Error(`the graph has no output ${output}`);
    return tensor;
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

const PROVIDER_NEEDS: Record<Exclude<Provider, "cpu">, string> = {
  webgpu: "it needs a GPU with a Vulkan, Metal or Direct3D 12 driver",
  cuda:
    "it needs an NVIDIA GPU with CUDA 12 and the runtime's CUDA library; " +
    "install that with `ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install.js`",
};

export function floatTensor(data: Float32Array, dims: readonly number[]): ort.Tensor {
  return new ort.Tensor("float32", data, dims);
}

/** int64, which is what the graphs take ids in. */
export function intTensor(data: ArrayLike<number>, dims: readonly number[]): ort.Tensor {
  return new ort.Tensor(
    "int64",
    BigInt64Array.from(data as ArrayLike<number> & Iterable<number>, BigInt),
    dims,
  );
}

/** The values of a float32 tensor. */
export function floatData(tensor: ort.Tensor): Float32Array {
  if (!(tensor.data instanceof Float32Array))
    throw new Error(`expected a float32 tensor, got ${tensor.type}`);
  return tensor.data;
}
