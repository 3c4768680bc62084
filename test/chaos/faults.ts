// Loaded into worker processes before anything else: counts the steps they make, and makes the jobs of some seeds harmful.
//
//   NODE_OPTIONS=--import=.../test/chaos/faults.ts VQD_TEST_STEPS=file VQD_TEST_FAULTS='{"666": {"kind": "kill", "step": 3}}'

import { appendFileSync, writeFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import { Denoiser } from "../../gpu-worker/pipeline/denoiser.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";

/**
 * What happens to the worker at a step of a job: it dies; a native call never comes back; the event loop is blocked; the
 * heap grows until the process dies; the pass fails as one does that does not fit into the memory.
 */
export type FaultKind = "kill" | "hang" | "block" | "oom" | "throw";

export interface Fault {
  readonly kind: FaultKind;
  /** Steps made before. */
  readonly step: number;
}

export type Faults = Readonly<Record<string, Fault>>;

/** The environment of workers with faults, whose steps are counted in `stepsFile`, one byte for each image's. */
export function faultyEnvironment(stepsFile: string, faults: Faults = {}): Record<string, string> {
  return {
    NODE_OPTIONS: `--import=${import.meta.url}`,
    VQD_TEST_STEPS: stepsFile,
    VQD_TEST_FAULTS: JSON.stringify(faults),
  };
}

/** In the environment: a file that one worker creates; its device fails every pass from then on. */
export const BROKEN_DEVICE = "VQD_TEST_BROKEN_DEVICE";

async function strike(kind: FaultKind): Promise<void> {
  switch (kind) {
    case "kill":
      process.kill(process.pid, "SIGKILL");
      break;
    case "hang":
      await new Promise<never>(() => {});
      break;
    case "block":
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      break;
    case "oom":
      for (const grown: number[][] = []; ;) grown.push(Array.from({ length: 1e6 }, (_, i) => i / 3));
    case "throw":
      throw new Error("bad allocation");
  }
}

let isBroken = false;

/** The first worker that makes a step has the device that breaks: errors of a GPU stick to its process. */
function failsAsDevice(): boolean {
  const file = process.env[BROKEN_DEVICE];
  if (isBroken || file === undefined) return isBroken;
  try {
    writeFileSync(file, String(process.pid), { flag: "wx" });
    isBroken = true;
  } catch {
    // Another worker was first.
  }
  return isBroken;
}

const stepsFile = process.env["VQD_TEST_STEPS"];
if (isMainThread && stepsFile !== undefined) {
  const faults = JSON.parse(process.env["VQD_TEST_FAULTS"] ?? "{}") as Faults;
  // oxlint-disable-next-line typescript/unbound-method -- called with the pipeline as this
  const { beginStep } = VQDiffusionPipeline.prototype;
  VQDiffusionPipeline.prototype.beginStep = async function step(slots) {
    for (const { seed, stepIndex } of slots) {
      const fault = faults[String(seed)];
      if (fault !== undefined && stepIndex >= fault.step) await strike(fault.kind);
    }
    if (failsAsDevice()) throw new Error("CUDA failure 700: an illegal memory access was encountered");
    appendFileSync(stepsFile, ".".repeat(slots.length));
    return beginStep.call(this, slots);
  };
  // oxlint-disable-next-line typescript/unbound-method -- called with the denoiser as this
  const { predict } = Denoiser.prototype;
  Denoiser.prototype.predict = async function predictOrFail(...args) {
    if (isBroken) throw new Error("CUDA failure 700: an illegal memory access was encountered");
    return predict.apply(this, args);
  };
}
