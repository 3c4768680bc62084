// An onnxruntime session on a thread of its own.

import { Worker } from "node:worker_threads";
import { type PlainTensor, type Runtime, type SessionOptions, type Tensor, tensorOf } from "./onnxruntime.ts";

/** What the thread is started with. */
export interface ThreadData {
  readonly path: string;
  readonly options: SessionOptions;
}

export type ThreadRequest =
  | {
      readonly type: "run";
      readonly id: number;
      readonly feeds: Readonly<Record<string, PlainTensor>>;
      readonly outputs: readonly string[];
      /** In shared memory: where to write the only output, which is then not sent back. */
      readonly into: PlainTensor | undefined;
    }
  | { readonly type: "release"; readonly id: number };

export type ThreadAnswer =
  | { readonly type: "created"; readonly inputNames: readonly string[] }
  | { readonly type: "failed"; readonly id?: number; readonly message: string }
  | { readonly type: "done"; readonly id: number; readonly outputs: PlainTensors };

type PlainTensors = Readonly<Record<string, PlainTensor>>;

interface Pending {
  readonly resolve: (outputs: PlainTensors) => void;
  readonly reject: (reason: Error) => void;
}

const plainOf = ({ type, data, dims }: Tensor): PlainTensor => ({ type, data, dims });

const isShared = ({ data }: Tensor): boolean =>
  ArrayBuffer.isView(data) && data.buffer instanceof SharedArrayBuffer;

export class ThreadedRuntime implements Runtime {
  readonly inputNames: readonly string[];
  readonly #thread: Worker;
  readonly #pending = new Map<number, Pending>();
  #sequence = 0;
  #end: Error | undefined;

  private constructor(thread: Worker, inputNames: readonly string[]) {
    this.#thread = thread;
    this.inputNames = inputNames;
    thread.on("message", (answer: ThreadAnswer) => this.#settle(answer));
    thread.on("error", (error: Error) => this.#fail(error));
    thread.on("exit", () => this.#fail(new Error("the session's thread has exited")));
    thread.unref();
  }

  /** Rejects if the session cannot be created. */
  static async create(path: string, options: SessionOptions): Promise<ThreadedRuntime> {
    const workerData: ThreadData = { path, options };
    const thread = new Worker(new URL("./session-thread.ts", import.meta.url), { workerData });
    try {
      const answer = await new Promise<ThreadAnswer>((resolve, reject) => {
        thread.once("message", resolve);
        thread.once("error", reject);
      });
      if (answer.type === "created") return new ThreadedRuntime(thread, answer.inputNames);
      throw new Error(answer.type === "failed" ? answer.message : "the session's thread did not start");
    } catch (error) {
      await thread.terminate();
      throw error;
    }
  }

  /** Data in shared memory is used in place; everything else is copied. */
  async run(
    feeds: Readonly<Record<string, Tensor>>,
    outputs: readonly string[],
    into?: Tensor,
  ): Promise<Readonly<Record<string, Tensor>>> {
    const plain = Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, plainOf(tensor)]));
    const shared = into !== undefined && isShared(into) ? into : undefined;
    const made = await this.#ask((id) => ({
      type: "run",
      id,
      feeds: plain,
      outputs,
      into: shared && plainOf(shared),
    }));
    const [only = ""] = outputs;
    if (shared !== undefined) return { [only]: shared };
    if (into === undefined) {
      return Object.fromEntries(Object.entries(made).map(([name, tensor]) => [name, tensorOf(tensor)]));
    }
    (into.data as Float32Array).set(made[only]?.data as Float32Array);
    return { [only]: into };
  }

  async release(): Promise<void> {
    await this.#ask((id) => ({ type: "release", id }));
    this.#end = new Error("the session has been released");
    await this.#thread.terminate();
  }

  #ask(request: (id: number) => ThreadRequest): Promise<PlainTensors> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) {
        reject(this.#end);
        return;
      }
      const id = this.#sequence++;
      // The thread keeps the process alive only while a caller waits for an answer.
      if (this.#pending.size === 0) this.#thread.ref();
      this.#pending.set(id, { resolve, reject });
      this.#thread.postMessage(request(id), []);
    });
  }

  #settle(answer: ThreadAnswer): void {
    if (answer.type === "created" || answer.id === undefined) return;
    const pending = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    if (this.#pending.size === 0) this.#thread.unref();
    if (answer.type === "done") pending?.resolve(answer.outputs);
    else pending?.reject(new Error(answer.message));
  }

  #fail(error: Error): void {
    this.#end ??= error;
    for (const { reject } of this.#pending.values()) reject(this.#end);
    this.#pending.clear();
  }
}
