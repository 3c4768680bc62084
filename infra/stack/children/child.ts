// One child process of the stack: started in a process group of its own, restarted when it dies, stopped as a group.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { Backoff } from "./backoff.ts";
import { killGroup } from "./group.ts";
import { type LineParser, type LogLine, type LogSink, lineSplitter } from "../log.ts";

/** Last lines of output kept for the error of a child that does not become ready. */
const TAIL_LINES = 15;
/** How long to wait for the last output of a process that has ended. */
const LAST_OUTPUT_LIMIT_MS = 500;

/** A started process, for determining when it is ready. */
export interface Started {
  readonly process: ChildProcess;
  /** Resolves with the first line of output that matches. */
  readonly line: (pattern: RegExp) => Promise<string>;
  /** Aborted when the process ends, or takes too long to become ready. */
  readonly signal: AbortSignal;
}

export interface ChildSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** Opens an IPC channel for `process.send` in the child. */
  readonly ipc?: boolean;
  readonly parser: () => LineParser;
  /** Resolves when the process is ready; called after each start. */
  readonly ready: (started: Started) => Promise<void>;
  readonly readyLimitMs: number;
  /** Time between SIGTERM and SIGKILL. */
  readonly stopLimitMs: number;
}

export type ChildState = "starting" | "ready" | "waiting" | "stopped";

export interface ChildEvents {
  readonly log: LogSink;
  /** Called whenever a process has started or ended. */
  readonly onProcess: () => void;
}

export class Child {
  readonly name: string;
  readonly #spec: ChildSpec;
  readonly #events: ChildEvents;
  readonly #backoff = new Backoff();
  readonly #stopping = new AbortController();
  #state: ChildState = "starting";
  #process: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #running: Promise<void> = Promise.resolve();
  #ready = Promise.withResolvers<void>();
  #tail: string[] = [];
  /** How the last process ended. */
  #end = "";
  #restarts = 0;

  constructor(spec: ChildSpec, events: ChildEvents) {
    this.name = spec.name;
    this.#spec = spec;
    this.#events = events;
    this.#ready.promise.catch(() => {});
  }

  get state(): ChildState {
    return this.#state;
  }

  /** Number of starts after the first. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Id of the current process. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts the process and resolves when it is ready. Rejects, and gives up, if it ends before that. */
  async start(): Promise<void> {
    try {
      await this.#launch();
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.#running = this.#keepRunning();
  }

  /** Resolves when the process is ready, immediately if it already is; rejects when the child is stopped for good. */
  waitReady(): Promise<void> {
    return this.#ready.promise;
  }

  /** Signals the process only, as a fault would; resolves when it has ended. It is then restarted. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    this.#process?.kill(signal);
    await this.#exited;
  }

  /** Stops the process and everything it has started, for good. Safe to repeat. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    const pid = this.pid;
    if (pid !== undefined) {
      killGroup(pid, "SIGTERM");
      const limit = new AbortController();
      const late = delay(this.#spec.stopLimitMs, true, { signal: limit.signal }).catch(() => false);
      const isLate = await Promise.race([late, this.#exited.then(() => false)]);
      limit.abort();
      if (isLate) {
        this.#say("warn", `${this.name} did not stop within ${this.#spec.stopLimitMs / 1000} s; killing it`);
        killGroup(pid, "SIGKILL");
        await this.#exited;
      }
    }
    await this.#running;
    this.#setState("stopped");
    this.#ready.reject(new Error(`${this.name} is stopped`));
  }

  /** Kills the group immediately, where waiting is not possible. */
  killNow(): void {
    this.#stopping.abort();
    if (this.pid !== undefined) killGroup(this.pid, "SIGKILL");
  }

  /** Restarts the process whenever it has ended, until `stop`. */
  async #keepRunning(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#exited;
      if (signal.aborted) return;
      this.#setState("waiting");
      const delayMs = this.#backoff.next();
      this.#say("error", `${this.#end}; restarting in ${(delayMs / 1000).toFixed(2)} s`);
      await delay(delayMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      this.#restarts++;
      this.#setState("starting");
      await this.#launch().catch((error: unknown) => {
        this.#end = error instanceof Error ? error.message : String(error);
      });
    }
  }

  async #launch(): Promise<void> {
    const { command, args, cwd, env, ipc = false } = this.#spec;
    this.#stopping.signal.throwIfAborted();
    this.#tail = [];
    const child = spawn(command, args, {
      cwd,
      env,
      // A group of its own, so that Ctrl-C in the terminal reaches only the supervisor, which stops everything in order.
      detached: true,
      stdio: ["ignore", "pipe", "pipe", ...(ipc ? (["ipc"] as const) : [])],
    });
    const listeners = new Set<(line: string) => void>();
    this.#readOutput(child, listeners);
    this.#process = child;
    const ended = new AbortController();
    this.#exited = this.#waitForExit(child, ended);
    if (child.pid !== undefined) {
      this.#events.log({ source: "stack", level: "info", text: `${this.name} pid ${child.pid}` });
      this.#events.onProcess();
    }
    await this.#waitForReady(child, listeners, ended);
    this.#backoff.started();
    this.#setState("ready");
  }

  async #waitForReady(
    child: ChildProcess,
    listeners: Set<(line: string) => void>,
    ended: AbortController,
  ): Promise<void> {
    const { readyLimitMs, ready } = this.#spec;
    const limit = new AbortController();
    const timer = setTimeout(
      () =>
        limit.abort(
          new Error(`${this.name} was not ready within ${readyLimitMs / 1000} s${this.#lastLines()}`),
        ),
      readyLimitMs,
    );
    const signal = AbortSignal.any([ended.signal, limit.signal]);
    const line = (pattern: RegExp): Promise<string> =>
      new Promise((resolve) => {
        const listener = (text: string): void => {
          if (!pattern.test(text)) return;
          listeners.delete(listener);
          resolve(text);
        };
        listeners.add(listener);
      });
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    });
    try {
      await Promise.race([ready({ process: child, line, signal }), aborted]);
    } catch (error) {
      if (child.pid !== undefined) killGroup(child.pid, "SIGKILL");
      await this.#exited;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #waitForExit(child: ChildProcess, ended: AbortController): Promise<void> {
    const closed = once(child, "close").catch(() => {});
    let how: string;
    try {
      const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
      how = signal === null ? `exited with code ${code}` : `was killed by ${signal}`;
    } catch (error) {
      how = `could not be started: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (child.pid !== undefined) {
      // Whatever it had started must not keep its ports from the next one.
      killGroup(child.pid, "SIGKILL");
      // Its last output may still be on its way.
      await Promise.race([closed, delay(LAST_OUTPUT_LIMIT_MS)]);
    }
    this.#process = undefined;
    if (this.#state === "ready") this.#setState("waiting");
    this.#end = child.pid === undefined ? `${this.name} ${how}` : `${this.name} (pid ${child.pid}) ${how}`;
    this.#events.onProcess();
    ended.abort(new Error(`${this.#end}${this.#lastLines()}`));
  }

  #readOutput(child: ChildProcess, listeners: ReadonlySet<(line: string) => void>): void {
    for (const stream of [child.stdout, child.stderr]) {
      const parse = this.#spec.parser();
      const split = lineSplitter((raw) => {
        for (const listener of listeners) listener(raw);
        const line = parse(raw);
        if (line === undefined) return;
        this.#tail.push(line.text);
        if (this.#tail.length > TAIL_LINES) this.#tail.shift();
        this.#events.log({ source: this.name, ...line });
      });
      stream?.setEncoding("utf8").on("data", split);
      stream?.once("end", () => split());
    }
  }

  #lastLines(): string {
    return this.#tail.length === 0 ? "" : `:\n${this.#tail.map((line) => `  ${line}`).join("\n")}`;
  }

  #setState(state: ChildState): void {
    if (this.#state === state) return;
    if (state === "ready") {
      this.#ready.resolve();
    } else if (this.#state === "ready") {
      this.#ready = Promise.withResolvers<void>();
      this.#ready.promise.catch(() => {});
    }
    this.#state = state;
  }

  #say(level: LogLine["level"], text: string): void {
    this.#events.log({ source: "stack", level, text });
  }
}
