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
  { id, feeds, output, into }: Extract<ThreadRequest, { type: "run" }>,
): Promise<void> {
  const tensors = Object.fromEntries(Object.entries(feeds).map(([name, plain]) => [name, tensorOf(plain)]));
  if (into !== undefined) {
    await runtime.run(tensors, output, tensorOf(into));
    post({ type: "done", id, output: undefined });
    return;
  }
  const { type, data, dims } = await runtime.run(tensors, output);
  // A copy that can be transferred: the runtime's own memory cannot.
  const copy = (data as Float32Array<ArrayBuffer>).slice();
  post({ type: "done", id, output: { type, data: copy, dims } }, [copy.buffer]);
}

async function serve(): Promise<void> {
  const { path, options } = workerData as ThreadData;
  const runtime = await createRuntime(path, options);
  parentPort?.on("message", (request: ThreadRequest) => {
    const { id } = request;
    const work =
      request.type === "run"
        ? run(runtime, request)
        : runtime.release().then(() => post({ type: "done", id, output: undefined }));
    work.catch((error: unknown) => post({ type: "failed", id, message: messageOf(error) }));
  });
  post({ type: "created", inputNames: runtime.inputNames });
}

serve().catch((error: unknown) => post({ type: "failed", message: messageOf(error) }));
