// The thread behind threaded-runtime.ts: the sessions in it compute one at a time.

import { parentPort } from "node:worker_threads";
import { createRuntime, type Runtime, tensorOf } from "./onnxruntime.ts";
import type { PlainTensors, ThreadAnswer, ThreadRequest } from "./threaded-runtime.ts";

const sessions = new Map<number, Runtime>();

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function post(answer: ThreadAnswer, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(answer, transfer);
}

function sessionOf(id: number): Runtime {
  const runtime = sessions.get(id);
  if (runtime === undefined) throw new Error("the session has been released");
  return runtime;
}

async function run({ id, session, feeds, outputs, into }: ThreadRequest & { type: "run" }): Promise<void> {
  const runtime = sessionOf(session);
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
  const plain: PlainTensors = Object.fromEntries(copies);
  post(
    { type: "done", id, outputs: plain },
    copies.map(([, { data }]) => data.buffer),
  );
}

async function serve(request: ThreadRequest): Promise<void> {
  switch (request.type) {
    case "create": {
      const runtime = await createRuntime(request.path, request.options);
      // The request's number is the session's from here on.
      sessions.set(request.id, runtime);
      post({ type: "created", id: request.id, inputNames: runtime.inputNames });
      return;
    }
    case "run":
      await run(request);
      return;
    case "release": {
      const runtime = sessionOf(request.session);
      sessions.delete(request.session);
      await runtime.release();
      post({ type: "done", id: request.id, outputs: {} });
    }
  }
}

parentPort?.on("message", (request: ThreadRequest) => {
  serve(request).catch((error: unknown) =>
    post({ type: "failed", id: request.id, message: messageOf(error) }),
  );
});
