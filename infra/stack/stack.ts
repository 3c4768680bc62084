// The whole system on one machine: starts nats-server, workers and edge together, and keeps them running.

import { randomBytes } from "node:crypto";
import { availableParallelism } from "node:os";
import { delimiter, join } from "node:path";
import { DEFAULT_LEASE_MS } from "@vqd/gpu-worker/ops/queues.ts";
import { defaultModelName } from "@vqd/gpu-worker/serving/manifest.ts";
import { buildProgram } from "../edge/program.ts";
import { type NatsPorts, type Passwords, writeNatsConfig } from "../nats/config.ts";
import { promoteAnnounced } from "../nats/routes.ts";
import { applyStreams } from "../nats/streams.ts";
import { Child, type ChildEvents } from "./children/child.ts";
import { edgeChild } from "./children/edge.ts";
import { natsChild } from "./children/nats.ts";
import { workerChild } from "./children/worker.ts";
import { type DataLock, recordOf } from "./lock.ts";
import { BUNDLED_MODEL } from "./paths.ts";
import { Gateway } from "./gateway.ts";
import { type Prepared, type StackOptions, cacheFolder, foldersOf, prepare } from "./prepare.ts";
import { waitForModels } from "./wait-for-models.ts";

const API_KEY_BYTES = 24;

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
  #gateway: Gateway | undefined;
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

  /** By which workers of other machines join; undefined without `listen`. */
  get joinToken(): string | undefined {
    return this.#gateway?.token;
  }

  get workers(): readonly Child[] {
    return this.#workers;
  }

  /** To be called once, by `startStack`. */
  async start(): Promise<void> {
    // The edge connects to NATS on its first request; workers need the streams.
    await Promise.all([this.#startEdge(), this.#startNatsAndWorkers()]);
    if (this.#workers.length > 0) await waitForModels(this, this.#ownKeys, this.#events.log);
  }

  /** Starts another worker; resolves when it is ready. */
  async addWorker(): Promise<Child> {
    const worker = this.#newWorker();
    await worker.start();
    if (this.#workers.length === 1) await this.#promote();
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

  get #operator() {
    return { url: this.natsUrl, password: this.passwords.operator };
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
      this.#operator,
      // The models are those of the workers that start next, whatever an earlier run served.
      {
        purgeModels: true,
        models: this.#modelKeys,
        leaseMs: Math.round(leaseSeconds * 1_000),
        ...(queueLimit === undefined ? {} : { queueLimit }),
      },
    );
    const { listen } = this.#options;
    if (listen !== undefined) {
      this.#gateway = await Gateway.start({
        ...listen,
        natsDir: join(this.dataDir, "nats"),
        natsPort: this.natsPorts.client,
        password: this.passwords.worker,
        log: this.#events.log,
      });
    }
    await Promise.all(this.#workers.map((worker) => worker.start()));
    if (this.#workers.length > 0) await this.#promote();
  }

  /** A folder that has been trained again has another version than in the last run: it is the one to serve. */
  #promote(): Promise<void> {
    return promoteAnnounced(this.#operator, this.#ownKeys);
  }

  async #stopInOrder(): Promise<void> {
    await this.edge.stop();
    await Promise.all(this.#workers.map((worker) => worker.stop()));
    await this.#gateway?.stop();
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
