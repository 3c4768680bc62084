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
   * Whether the memory of a run is kept for the next one [true]. Keeping it saves allocations on every run of a loop; a
   * graph that runs once per image should give it back.
   */
  readonly keepsMemory?: boolean;
  /** Whether the graph is refused if the provider cannot compute all of its nodes, which the CPU does otherwise [false]. */
  readonly forbidsCpu?: boolean;
  /**
   * Whether the session runs on a thread of its own [false]. onnxruntime's binding computes on the calling thread,
   * which is blocked until then. On WebGPU all sessions run on one other thread in any case.
   */
  readonly ownThread?: boolean;
}

/** The part of onnxruntime's sessions that is used. */
export interface Runtime {
  readonly inputNames: readonly string[];
  /** Resolves to the outputs of these names; `into` is where to write the only one. */
  run(
    feeds: Readonly<Record<string, ort.Tensor>>,
    outputs: readonly string[],
    into?: ort.Tensor,
  ): Promise<Readonly<Record<string, ort.Tensor>>>;
  release(): Promise<void>;
}

/** A session that computes on the calling thread. */
export async function createRuntime(
  path: string,
  { provider, threads, keepsMemory = true, forbidsCpu = false }: SessionOptions,
): Promise<Runtime> {
  const session = await ort.InferenceSession.create(path, {
    executionProviders: [provider],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
    enableCpuMemArena: keepsMemory,
    // Memory patterns keep a plan, and a block of memory besides the arena, for each shape of the inputs: 360 MiB more
    // for the published model, and no faster.
    enableMemPattern: false,
    logSeverityLevel: LOG_SEVERITY_FATAL,
    ...(forbidsCpu ? { extra: { session: { disable_cpu_ep_fallback: "1" } } } : {}),
  });
  return {
    inputNames: session.inputNames,
    run: (feeds, outputs, into) => {
      const [only = ""] = outputs;
      return session.run(feeds, into === undefined ? outputs : { [only]: into });
    },
    release: () => session.release(),
  };
}

/**
 * onnxruntime's "fatal": its warnings are about graph details that nobody can act on, and its errors are also thrown.
 * Loading libraries happens outside of sessions, under the level of `env`.
 */
const LOG_SEVERITY_FATAL = 4;
ort.env.logLevel = "fatal";

/** A tensor as passed between threads. */
export type PlainTensor = Pick<ort.Tensor, "type" | "data" | "dims">;

export function tensorOf({ type, data, dims }: PlainTensor): ort.Tensor {
  return new ort.Tensor(type, data, dims);
}
