// What was measured on: a figure without it is worth nothing.

import { availableParallelism, cpus, totalmem } from "node:os";
import { RUNTIME_VERSION } from "../../gpu-worker/runtime/session.ts";

export const describeMachine = () => ({
  cpu: cpus()[0]?.model ?? "unknown",
  cores: availableParallelism(),
  memory_gb: Math.round(totalmem() / 2 ** 30),
  node: process.version,
  onnxruntime: RUNTIME_VERSION,
});

/** One line: name and value, name and value. */
export const asLine = (fields: Readonly<Record<string, string | number>>): string =>
  Object.entries(fields)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
