// The whole system on one machine: starts nats-server, workers and edge together, and keeps them running.

import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { DEFAULT_LEASE_MS } from "@vqd/gpu-worker/ops/queues.ts";
import { defaultModelName } from "@vqd/gpu-worker/serving/manifest.ts";
import { keyOfCheckpoint } from "@vqd/gpu-worker/serving/model-key.ts";
import { buildProgram } from "../edge/program.ts";
import { type NatsPorts, type Passwords, loadPasswords, writeNatsConfig } from "../nats/config.ts";
import { type NatsServer, ensureNatsServer } from "../nats/server.ts";
import { applyStreams } from "../nats/streams.ts";
import { Child, type ChildEvents } from "./child.ts";
import { edgeChild } from "./edge-child.ts";
import { privateFolder } from "./files.ts";
import { DataLock, recordOf } from "./lock.ts";
import type { LogSink } from "./log.ts";
import { natsChild } from "./nats-child.ts";
import { BUNDLED_MODEL, DEFAULT_DATA } from "./paths.ts";
import { freePorts, isPortFree } from "./ports.ts";
import { workerChild } from "./worker-child.ts";

const API_KEY_BYTES = 24;
const MODELS_LIMIT_MS = 15_000;
/** From the first model that the edge lists to the last: they are announced one after another. */
const OTHER_MODELS_LIMIT_MS = 5_000;
const OTHER_MODELS_POLL_MS = 500;
const MODELS_POLL_MS = 50;

export type Provider = "cpu" | "webgpu" | "cuda";

export interface StackOptions {
  /** Port of the edge; an Error if it is in use [any free one]. */
  readonly port?: number;
  /** Used if it is free, instead of any free one. */
  readonly preferredPort?: number;
  /** With 0, use `addWorker`, or let workers elsewhere connect [1]. */
  readonly workers?: number;
  /** [a new one] */
  readonly apiKey?: string;
  /** Checkpoint folder, or several, separated as in PATH [the bundled model]. */
  readonly model?: string;
  readonly provider?: Provider;
  /** Keys of additional models that workers started elsewhere may serve. */
  readonly otherModels?: readonly string[];
  /** Folder for the streams, the graph cache and the edge's data [`.vqd` in the repository]. */
  readonly data?: string;
  /** Jobs that may wait or run at once. */
  readonly queueLimit?: number;
  /** How long a worker may be silent before its job goes to another [10]. */
  readonly leaseSeconds?: number;
  /** Additional environment variables for each worker. */
  readonly workerEnv?: Readonly<Record<string, string>>;
  /** Additional variables (bindings) for the edge. */
  readonly edgeEnv?: Readonly<Record<string, string>>;
  readonly log?: LogSink;
  /** Aborts a start in progress. */
  readonly signal?: AbortSignal;
}

/** What is determined before anything is started. */
interface Prepared {
  readonly server: NatsServer;
  readonly lock: DataLock;
  readonly dataDir: string;
  readonly passwords: Passwords;
  readonly natsPorts: NatsPorts;
  readonly edgePort: number;
  /** Of the models of our workers. */
  readonly ownKeys: readonly string[];
  readonly modelKeys: readonly string[];
}

/** Starts the system and resolves when all of it is ready; on failure, nothing is left running. */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const prepared = await prepare(options);
  const stack = new Stack(options, prepared);
  const cancel = (): void => void stack.stop();
  options.signal?.addEventListener("abort", cancel, { once: true });
  try {
    options.signal?.throwIfAborted();
    await stack.start();
    options.signal?.throwIfAborted();
    return stack;
  } catch (error) {
    await stack.stop();
    throw error;
  } finally {
    options.signal?.removeEventListener("abort", cancel);
  }
}

async function prepare(options: StackOptions): Promise<Prepared> {
  const { data = DEFAULT_DATA, log = () => {} } = options;
  if (process.platform === "win32") throw new Error("Windows has no process groups and signals; use WSL 2");
  const dataDir = resolve(data);
  const say = (text: string): void => log({ source: "stack", level: "info", text });
  // A folder of the caller's choice may also contain other things; only our own folders in it are closed.
  if (dataDir === DEFAULT_DATA) privateFolder(dataDir);
  else mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  for (const folder of ["nats", "cache"]) privateFolder(join(dataDir, folder));
  const server = await ensureNatsServer({ binDir: join(dataDir, "bin"), log: say });
  const lock = await DataLock.acquire(dataDir, say);
  try {
    // After the lock: what a killed stack left running may have occupied the port until now.
    const edgePort = await choosePort(options, say);
    const [client = 0, websocket = 0, monitor = 0] = await freePorts(3);
    const ownKeys = keysOfModels(options, dataDir);
    return {
      server,
      lock,
      dataDir,
      passwords: loadPasswords(join(dataDir, "nats")),
      natsPorts: { client, websocket, monitor },
      edgePort,
      ownKeys,
      modelKeys: [...new Set([...ownKeys, ...(options.otherModels ?? [])])],
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

const foldersOf = ({ model = BUNDLED_MODEL }: StackOptions): string[] =>
  model.split(delimiter).map((dir) => resolve(dir));

/** Of the models that the workers may serve. One that cannot be read has none: its worker says what is wrong with it. */
function keysOfModels(options: StackOptions, dataDir: string): string[] {
  const { workerEnv = {} } = options;
  const names = (workerEnv["VQD_MODEL_NAME"] ?? process.env["VQD_MODEL_NAME"])?.split(",");
  const cacheDir = workerEnv["VQD_CACHE"] ?? cacheFolder(dataDir);
  return foldersOf(options).flatMap((dir, index) => {
    try {
      return [keyOfCheckpoint({ dir, name: names?.[index]?.trim() || undefined }, cacheDir)];
    } catch {
      return [];
    }
  });
}

const modelNameOf = (key: string): string => key.split("--").slice(0, 2).join("/");
const cacheFolder = (dataDir: string): string => join(dataDir, "cache");

async function choosePort(
  { port, preferredPort }: StackOptions,
  say: (text: string) => void,
): Promise<number> {
  if (port !== undefined) {
    if (await isPortFree(port)) return port;
    throw new Error(`port ${port} is in use`);
  }
  if (preferredPort !== undefined) {
    if (await isPortFree(preferredPort)) return preferredPort;
    say(`port ${preferredPort} is in use; using a free one`);
  }
  const [free = 0] = await freePorts(1);
  return free;
}

/** A running stack. Its children are restarted when they die. */
export class Stack implements AsyncDisposable {
  readonly url: string;
  readonly apiKey: string;
  /** URL of NATS for clients in Node. */
  readonly natsUrl: string;
  readonly natsPorts: NatsPorts;
  /** Passwords of the NATS users. */
  readonly passwords: Passwords;
  readonly dataDir: string;
  readonly nats: Child;
  readonly edge: Child;
  readonly #workers: Child[] = [];
  readonly #options: StackOptions;
  readonly #ownKeys: readonly string[];
  readonly #modelKeys: readonly string[];
  readonly #lock: DataLock;
  readonly #events: ChildEvents;
  readonly #baseEnv: NodeJS.ProcessEnv;
  readonly #threads: number;
  readonly #edgeProgram: string;
  readonly #killNow = (): void => this.killNow();
  #stopped: Promise<void> | undefined;

  constructor(options: StackOptions, prepared: Prepared) {
    const { server, lock, dataDir, passwords, natsPorts, edgePort, ownKeys, modelKeys } = prepared;
    this.#options = options;
    this.#ownKeys = ownKeys;
    this.#modelKeys = modelKeys;
    this.#lock = lock;
    this.url = `http://127.0.0.1:${edgePort}`;
    this.apiKey = options.apiKey ?? newApiKey();
    this.natsUrl = `nats://127.0.0.1:${natsPorts.client}`;
    this.natsPorts = natsPorts;
    this.passwords = passwords;
    this.dataDir = dataDir;
    // The key itself is only for whoever starts the stack.
    const { VQD_API_KEY: _, ...baseEnv } = process.env;
    this.#baseEnv = baseEnv;
    const workers = options.workers ?? 1;
    this.#threads = Math.max(1, Math.floor(availableParallelism() / Math.max(1, workers)));
    this.#events = { log: options.log ?? (() => {}), onProcess: () => this.#record() };

    const natsConfig = writeNatsConfig(join(dataDir, "nats"), { ports: natsPorts, passwords, modelKeys });
    this.nats = new Child(natsChild(server, natsConfig, natsPorts), this.#events);
    this.#edgeProgram = join(dataDir, "edge", "program");
    const edge = edgeChild(
      {
        programDir: this.#edgeProgram,
        port: edgePort,
        websocketPort: natsPorts.websocket,
        password: passwords.edge,
        apiKey: this.apiKey,
        defaultModel: this.#defaultModel(baseEnv["VQD_MODEL_NAME"]),
        dataDir,
        expectsModel: workers > 0,
        env: options.edgeEnv ?? {},
      },
      baseEnv,
    );
    this.edge = new Child(edge, this.#events);
    for (let i = 0; i < workers; i++) this.#newWorker();
    // The last resort, which also covers process.exit().
    process.once("exit", this.#killNow);
  }

  get workers(): readonly Child[] {
    return this.#workers;
  }

  /** To be called once, by `startStack`. */
  async start(): Promise<void> {
    // The edge connects to NATS on its first request; workers need the streams.
    await Promise.all([this.#startEdge(), this.#startNatsAndWorkers()]);
    if (this.#workers.length > 0) await this.#waitForModels();
  }

  /** Starts another worker; resolves when it is ready. */
  async addWorker(): Promise<Child> {
    const worker = this.#newWorker();
    await worker.start();
    return worker;
  }

  /** Resolves when every child is ready. */
  async waitReady(): Promise<void> {
    await Promise.all(this.#children.map((child) => child.waitReady()));
  }

  /** Stops everything: first what accepts requests, last what the others depend on. Safe to repeat. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopInOrder();
    return this.#stopped;
  }

  /** Kills everything immediately, without waiting. */
  killNow(): void {
    for (const child of this.#children) child.killNow();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  get #children(): Child[] {
    return [this.edge, ...this.#workers, this.nats];
  }

  /** The name of the first model: the first of `names`, if any, or else derived from its folder. */
  #defaultModel(names: string | undefined): string {
    return names?.split(",")[0]?.trim() || defaultModelName(foldersOf(this.#options)[0] ?? BUNDLED_MODEL);
  }

  #newWorker(): Child {
    const { provider = "cpu", workerEnv = {} } = this.#options;
    const settings = {
      natsUrl: this.natsUrl,
      password: this.passwords.worker,
      model: foldersOf(this.#options).join(delimiter),
      provider,
      threads: this.#threads,
      cacheDir: cacheFolder(this.dataDir),
      env: workerEnv,
    };
    const worker = new Child(workerChild(this.#workers.length + 1, settings, this.#baseEnv), this.#events);
    this.#workers.push(worker);
    return worker;
  }

  async #startEdge(): Promise<void> {
    await buildProgram(this.#edgeProgram);
    await this.edge.start();
  }

  async #startNatsAndWorkers(): Promise<void> {
    await this.nats.start();
    const { queueLimit, leaseSeconds = DEFAULT_LEASE_MS / 1_000 } = this.#options;
    await applyStreams(
      { url: this.natsUrl, password: this.passwords.operator },
      // The models are those of the workers that start next, whatever an earlier run served.
      {
        purgeModels: true,
        models: this.#modelKeys,
        leaseMs: Math.round(leaseSeconds * 1_000),
        ...(queueLimit === undefined ? {} : { queueLimit }),
      },
    );
    await Promise.all(this.#workers.map((worker) => worker.start()));
  }

  /** Announcements take a moment to arrive at the edge. A model that is refused is reported, if there are others. */
  async #waitForModels(): Promise<void> {
    const signal = AbortSignal.timeout(MODELS_LIMIT_MS);
    const headers = { authorization: `Bearer ${this.apiKey}` };
    let firstAt: number | undefined;
    for (;;) {
      const response = await fetch(`${this.url}/v1/models`, { headers, signal }).catch(() => undefined);
      const body = (await response?.json().catch(() => undefined)) as { data?: { id: string }[] } | undefined;
      const listed = new Set(response?.ok ? body?.data?.map(({ id }) => id) : []);
      const missing = [...new Set(this.#ownKeys.map(modelNameOf))].filter((name) => !listed.has(name));
      if (listed.size > 0) {
        if (missing.length === 0) return;
        firstAt ??= performance.now();
        if (performance.now() - firstAt > OTHER_MODELS_LIMIT_MS) {
          const text = `not served: ${missing.join(", ")}; the lines above say why`;
          this.#events.log({ source: "stack", level: "warn", text });
          return;
        }
      }
      if (signal.aborted) {
        throw new Error(
          `the edge does not list the workers' model (GET /v1/models: ${response?.status ?? "no answer"})`,
        );
      }
      // The edge looks for more only every few seconds, and logs each request.
      await delay(listed.size > 0 ? OTHER_MODELS_POLL_MS : MODELS_POLL_MS);
    }
  }

  async #stopInOrder(): Promise<void> {
    await this.edge.stop();
    await Promise.all(this.#workers.map((worker) => worker.stop()));
    await this.nats.stop();
    process.off("exit", this.#killNow);
    this.#lock.release();
  }

  #record(): void {
    const records = this.#children.map((child) =>
      child.pid === undefined ? undefined : recordOf(child.name, child.pid),
    );
    this.#lock.setChildren(records.filter((record) => record !== undefined));
  }
}

const newApiKey = (): string => `vqd_${randomBytes(API_KEY_BYTES).toString("base64url")}`;
