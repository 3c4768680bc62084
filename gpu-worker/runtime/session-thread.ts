// The thread behind threaded-runtime.ts.

import { parentPort, workerData } from "node:worker_threads";
import { createRuntime, type Runtime, tensorOf } from "./onnxruntime.ts";
import type { ThreadAnswer, ThreadData, ThreadRequest } from "./threaded-runtime.ts";

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function post(answer: ThreadAnswer, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(answer, transfer);
}

async function run(
  runtime: Runtime,
  { id, feeds, outputs, into }: Extract<ThreadRequest, { type: "run" }>,
): Promise<void> {
  const tensors = Object.fromEntries(Object.entries(feeds).map(([name, plain]) => [name, tensorOf(plain)]));
  if (into !== undefined) {
    await runtime.run(tensors, outputs, tensorOf(into));
    post({ type: "done", id, outputs: {} });
    return;
  }
  const made = await runtime.run(tensors, outputs);
  // Copies that can be transferred: the runtime's own memory cannot.
  const copies = Object.entries(made).map(([name, { type, data, dims }]) => {
    const copy = (data as Float32Array<ArrayBuffer>).slice();
    return [name, { type, data: copy, dims }] as const;
  });
  post(
    { type: "done", id, outputs: Object.fromEntries(copies) },
    copies.map(([, { data }]) => data.buffer),
  );
}

async function serve(): Promise<void> {
  const { path, options } = workerData as ThreadData;
  const runtime = await createRuntime(path, options);
  parentPort?.on("message", (request: ThreadRequest) => {
    const { id } = request;
    const work =
      request.type === "run"
        ? run(runtime, request)
        : runtime.release().then(() => post({ type: "done", id, outputs: {} }));
    work.catch((error: unknown) => post({ type: "failed", id, message: messageOf(error) }));
  });
  post({ type: "created", inputNames: runtime.inputNames });
}

serve().catch((error: unknown) => post({ type: "failed", message: messageOf(error) }));
