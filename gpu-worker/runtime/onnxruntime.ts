// The only import of onnxruntime: sessions on a provider, and their tensors.

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
  /**
   * Whether runs are made on a thread of the session's own [false]. onnxruntime's binding computes on the thread that
   * calls it, which until then does nothing else.
   */
  readonly ownThread?: boolean;
}

/** What of onnxruntime's sessions is used. */
export interface Runtime {
  readonly inputNames: readonly string[];
  /** Gives the output `output`, which is written to `into` if that is given. */
  run(feeds: Readonly<Record<string, ort.Tensor>>, output: string, into?: ort.Tensor): Promise<ort.Tensor>;
  release(): Promise<void>;
}

/** A session on the thread that calls it. */
export async function createRuntime(
  path: string,
  { provider, threads, keepsMemory = true }: SessionOptions,
): Promise<Runtime> {
  const session = await ort.InferenceSession.create(path, {
    executionProviders: [provider],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
    enableCpuMemArena: keepsMemory,
    // A plan, kept for each shape of the inputs with a block of memory of its own, beside what the arena has: 360 MiB more
    // for the published model, and no time less.
    enableMemPattern: false,
    logSeverityLevel: LOG_SEVERITY_FATAL,
  });
  return {
    inputNames: session.inputNames,
    async run(feeds, output, into) {
      const outputs = await session.run(feeds, into === undefined ? [output] : { [output]: into });
      const tensor = outputs[output];
      if (tensor === undefined) throw new Error(`the graph has no output ${output}`);
      return tensor;
    },
    release: () => session.release(),
  };
}

/**
 * onnxruntime's "fatal": its warnings are about graph details that nobody can act on, and its errors come as
 * exceptions too. Libraries are loaded outside of sessions, by what `env` says.
 */
const LOG_SEVERITY_FATAL = 4;
ort.env.logLevel = "fatal";

/** A tensor as it passes between threads. */
export type PlainTensor = Pick<ort.Tensor, "type" | "data" | "dims">;

export function tensorOf({ type, data, dims }: PlainTensor): ort.Tensor {
  return new ort.Tensor(type, data as ort.Tensor.DataTypeMap[ort.Tensor.Type], dims);
}
