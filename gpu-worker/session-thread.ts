// The thread behind threaded-runtime.ts.

import { parentPort, workerData } from "node:worker_threads";
import { createRuntime, type PlainTensor, type Runtime, tensorOf } from "./runtime.ts";
import type { ThreadAnswer, ThreadData, ThreadRequest } from "./threaded-runtime.ts";

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function say(answer: ThreadAnswer, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(answer, transfer);
}

async function run(
  runtime: Runtime,
  { id, feeds, fetches }: Extract<ThreadRequest, { type: "run" }>,
): Promise<void> {
  const tensors = Object.fromEntries(Object.entries(feeds).map(([name, plain]) => [name, tensorOf(plain)]));
  const made = await runtime.run(tensors, fetches);
  const outputs: Record<string, PlainTensor> = {};
  const transfer: ArrayBuffer[] = [];
  for (const [name, { type, data, dims }] of Object.entries(made)) {
    // A copy that can be given away: the runtime's own memory cannot.
    const copy = (data as Float32Array<ArrayBuffer>).slice();
    outputs[name] = { type, data: copy, dims };
    transfer.push(copy.buffer);
  }
  say({ type: "done", id, outputs }, transfer);
}

async function serve(): Promise<void> {
  const { path, options } = workerData as ThreadData;
  const runtime = await createRuntime(path, options);
  parentPort?.on("message", (request: ThreadRequest) => {
    const { id } = request;
    const work =
      request.type === "run"
        ? run(runtime, request)
        : runtime.release().then(() => say({ type: "done", id, outputs: {} }));
    work.catch((error: unknown) => say({ type: "failed", id, message: messageOf(error) }));
  });
  say({ type: "created", inputNames: runtime.inputNames });
}

serve().catch((error: unknown) => say({ type: "failed", message: messageOf(error) }));
