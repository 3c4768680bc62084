// What is determined before the stack starts: its folder and the lock on it, nats-server, ports, the models' keys.

import { mkdirSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { keyOfCheckpoint } from "@vqd/gpu-worker/serving/model-key.ts";
import { type NatsPorts, type Passwords, loadPasswords } from "../nats/config.ts";
import { type NatsServer, ensureNatsServer } from "../nats/server.ts";
import { privateFolder } from "./files.ts";
import type { Listen } from "./gateway.ts";
import { DataLock } from "./lock.ts";
import type { LogSink } from "./log.ts";
import type { Provider } from "./options.ts";
import { BUNDLED_MODEL, DEFAULT_DATA } from "./paths.ts";
import { freePorts, isPortFree } from "./ports.ts";

export interface StackOptions {
  /** Whether to download a current nats-server where the system's is old [false]. */
  readonly prefersCurrentNats?: boolean;
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
  /** Where workers of other machines may connect, with TLS [nowhere]. */
  readonly listen?: Listen | undefined;
  /** Additional environment variables for each worker. */
  readonly workerEnv?: Readonly<Record<string, string>>;
  /** Additional variables (bindings) for the edge. */
  readonly edgeEnv?: Readonly<Record<string, string>>;
  readonly log?: LogSink;
  /** Aborts a start in progress. */
  readonly signal?: AbortSignal;
}

/** What is determined before anything is started. */
export interface Prepared {
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

/** Throws an Error that says what is missing or in use. */
export async function prepare(options: StackOptions): Promise<Prepared> {
  const { data = DEFAULT_DATA, log = () => {} } = options;
  if (process.platform === "win32") throw new Error("Windows has no process groups and signals; use WSL 2");
  const dataDir = resolve(data);
  const say = (text: string): void => log({ source: "stack", level: "info", text });
  // A folder of the caller's choice may also contain other things; only our own folders in it are closed.
  if (dataDir === DEFAULT_DATA) privateFolder(dataDir);
  else mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  for (const folder of ["nats", "cache"]) privateFolder(join(dataDir, folder));
  const { prefersCurrentNats = false } = options;
  const binDir = join(dataDir, "bin");
  const server = await ensureNatsServer({ binDir, log: say, prefersCurrent: prefersCurrentNats });
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

/** Checkpoint folders, absolute. */
export const foldersOf = ({ model = BUNDLED_MODEL }: StackOptions): string[] =>
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

export const cacheFolder = (dataDir: string): string => join(dataDir, "cache");

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
