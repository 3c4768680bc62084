// onnxruntime sessions on threads of their own, or on one that they share.

import { Worker } from "node:worker_threads";
import { type PlainTensor, type Runtime, type SessionOptions, type Tensor, tensorOf } from "./onnxruntime.ts";

/** `id` numbers the requests of a thread; a session has the number of the request that created it. */
export type ThreadRequest = { readonly id: number } & (
  | { readonly type: "create"; readonly path: string; readonly options: SessionOptions }
  | {
      readonly type: "run";
      readonly session: number;
      readonly feeds: PlainTensors;
      readonly outputs: readonly string[];
      /** In shared memory: where to write the only output, which is then not sent back. */
      readonly into: PlainTensor | undefined;
    }
  | { readonly type: "release"; readonly session: number }
);

export type ThreadAnswer = { readonly id: number } & (
  | { readonly type: "created"; readonly inputNames: readonly string[] }
  | { readonly type: "done"; readonly outputs: PlainTensors }
  | { readonly type: "failed"; readonly message: string }
);

type Answered<Type> = Extract<ThreadAnswer, { type: Type }>;
type WithoutId<Request> = Request extends unknown ? Omit<Request, "id"> : never;

export type PlainTensors = Readonly<Record<string, PlainTensor>>;

interface Pending {
  readonly resolve: (answer: ThreadAnswer) => void;
  readonly reject: (reason: Error) => void;
}

const plainOf = ({ type, data, dims }: Tensor): PlainTensor => ({ type, data, dims });

const isShared = ({ data }: Tensor): boolean =>
  ArrayBuffer.isView(data) && data.buffer instanceof SharedArrayBuffer;

/** A thread with sessions. It ends with the last of them. */
class SessionThread {
  readonly #thread = new Worker(new URL("./session-thread.ts", import.meta.url));
  readonly #pending = new Map<number, Pending>();
  #sequence = 0;
  #sessions = 0;
  #end: Error | undefined;

  constructor() {
    this.#thread.on("message", (answer: ThreadAnswer) => this.#settle(answer));
    this.#thread.on("error", (error: Error) => this.#fail(error));
    this.#thread.on("exit", () => this.#fail(new Error("the session's thread has exited")));
    this.#thread.unref();
  }

  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  /** Creates a session, or makes the thread end if that fails and it has no other. */
  async create(
    path: string,
    options: SessionOptions,
  ): Promise<{ session: number; inputNames: readonly string[] }> {
    this.#sessions++;
    try {
      const { id, inputNames } = await this.ask<"created">({ type: "create", path, options });
      return { session: id, inputNames };
    } catch (error) {
      await this.#removeSession();
      throw error;
    }
  }

  async release(session: number): Promise<void> {
    await this.ask<"done">({ type: "release", session });
    await this.#removeSession();
  }

  async #removeSession(): Promise<void> {
    this.#sessions--;
    if (this.#sessions > 0) return;
    this.#end ??= new Error("the session has been released");
    await this.#thread.terminate();
  }

  ask<Type extends "created" | "done">(request: WithoutId<ThreadRequest>): Promise<Answered<Type>> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) {
        reject(this.#end);
        return;
      }
      const id = this.#sequence++;
      // The thread keeps the process alive only while a caller waits for an answer.
      if (this.#pending.size === 0) this.#thread.ref();
      this.#pending.set(id, { resolve: (answer) => resolve(answer as Answered<Type>), reject });
      this.#thread.postMessage({ ...request, id }, []);
    });
  }

  #settle(answer: ThreadAnswer): void {
    const pending = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    if (this.#pending.size === 0) this.#thread.unref();
    if (answer.type === "failed") pending?.reject(new Error(answer.message));
    else pending?.resolve(answer);
  }

  #fail(error: Error): void {
    this.#end ??= error;
    for (const { reject } of this.#pending.values()) reject(this.#end);
    this.#pending.clear();
  }
}

/** All sessions on WebGPU share one. */
let webgpuThread: SessionThread | undefined;

/**
 * onnxruntime's sessions on WebGPU record their commands in one encoder and share caches, all without locks: two threads that
 * compute at the same time, or one that creates a session meanwhile, crash the process, fail, or wait for each other for ever.
 */
function threadFor({ provider }: SessionOptions): SessionThread {
  if (provider !== "webgpu") return new SessionThread();
  if (webgpuThread === undefined || webgpuThread.hasEnded) webgpuThread = new SessionThread();
  return webgpuThread;
}

export class ThreadedRuntime implements Runtime {
  readonly inputNames: readonly string[];
  readonly #thread: SessionThread;
  readonly #session: number;

  private constructor(thread: SessionThread, session: number, inputNames: readonly string[]) {
    this.#thread = thread;
    this.#session = session;
    this.inputNames = inputNames;
  }

  /** Rejects if the session cannot be created. */
  static async create(path: string, options: SessionOptions): Promise<ThreadedRuntime> {
    const thread = threadFor(options);
    const { session, inputNames } = await thread.create(path, options);
    return new ThreadedRuntime(thread, session, inputNames);
  }

  /** Data in shared memory is used in place; everything else is copied. */
  async run(
    feeds: Readonly<Record<string, Tensor>>,
    outputs: readonly string[],
    into?: Tensor,
  ): Promise<Readonly<Record<string, Tensor>>> {
    const plain = Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, plainOf(tensor)]));
    const shared = into !== undefined && isShared(into) ? into : undefined;
    const { outputs: made } = await this.#thread.ask<"done">({
      type: "run",
      session: this.#session,
      feeds: plain,
      outputs,
      into: shared && plainOf(shared),
    });
    const [only = ""] = outputs;
    if (shared !== undefined) return { [only]: shared };
    if (into === undefined) {
      return Object.fromEntries(Object.entries(made).map(([name, tensor]) => [name, tensorOf(tensor)]));
    }
    (into.data as Float32Array).set(made[only]?.data as Float32Array);
    return { [only]: into };
  }

  async release(): Promise<void> {
    await this.#thread.release(this.#session);
  }
}
