// Loaded into worker processes before anything else: counts the steps they make, and makes the jobs of some seeds harmful.
//
//   NODE_OPTIONS=--import=.../test/chaos/faults.ts VQD_TEST_STEPS=file VQD_TEST_FAULTS='{"666": {"kind": "kill", "step": 3}}'

import { appendFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
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

const stepsFile = process.env["VQD_TEST_STEPS"];
if (isMainThread && stepsFile !== undefined) {
  const faults = JSON.parse(process.env["VQD_TEST_FAULTS"] ?? "{}") as Faults;
  // oxlint-disable-next-line typescript/unbound-method -- called with the pipeline as this
  const { stepSlots } = VQDiffusionPipeline.prototype;
  VQDiffusionPipeline.prototype.stepSlots = async function step(slots) {
    for (const { seed, stepIndex } of slots) {
      const fault = faults[String(seed)];
      if (fault !== undefined && stepIndex >= fault.step) await strike(fault.kind);
    }
    appendFileSync(stepsFile, ".".repeat(slots.length));
    return stepSlots.call(this, slots);
  };
}
