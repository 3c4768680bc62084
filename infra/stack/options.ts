// The options of `npm start`, from the command line or the environment.

import { existsSync, readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import { delimiter, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { DEFAULT_LEASE_MS } from "@vqd/gpu-worker/ops/queues.ts";
import { DEFAULT_QUEUE_LIMIT } from "../nats/streams.ts";
import { UsageError } from "../usage-error.ts";
import type { Listen } from "./gateway.ts";
import { BUNDLED_MODEL, DEFAULT_DATA } from "./paths.ts";

export const DEFAULT_PORT = 8787;
/** Where workers of other machines connect. */
const DEFAULT_LISTEN_PORT = 4222;
const MAX_WORKERS = 64;
const MAX_QUEUE_LIMIT = 1_000_000;
const MAX_LEASE_SECONDS = 600;
const PROVIDERS = ["cpu", "webgpu", "cuda"] as const;
export type Provider = (typeof PROVIDERS)[number];

/** Each option with its environment variable. `queue-limit` is for tests and so only a variable. */
export const START_VARIABLES = {
  port: "VQD_PORT",
  workers: "VQD_WORKERS",
  "api-key": "VQD_API_KEY",
  model: "VQD_MODEL",
  provider: "VQD_PROVIDER",
  data: "VQD_DATA",
  listen: "VQD_LISTEN",
} as const;
type OptionName = keyof typeof START_VARIABLES;

export interface StartOptions {
  /** Undefined: the default port, or any free one if that is taken. 0: any free one. */
  readonly port: number | undefined;
  readonly workers: number;
  readonly apiKey: string | undefined;
  /** Checkpoint folders, separated as in PATH. */
  readonly model: string;
  readonly provider: Provider;
  readonly data: string;
  readonly queueLimit: number;
  readonly leaseSeconds: number;
  /** Where workers of other machines may connect; undefined: nowhere. */
  readonly listen: Listen | undefined;
}

/** Throws a `UsageError` that names the invalid option or variable and the reason. */
export function readStartOptions(args: readonly string[], env: NodeJS.ProcessEnv): StartOptions {
  const given = readArguments(args);
  const value = (name: OptionName): Given | undefined => {
    const argument = given.get(name);
    if (argument !== undefined) return { source: `--${name}`, text: argument };
    return variable(env, START_VARIABLES[name]);
  };
  const port = value("port");
  const workers = value("workers");
  const queueLimit = variable(env, "VQD_QUEUE_LIMIT");
  const lease = variable(env, "VQD_LEASE_SECONDS");
  const listen = value("listen");
  const apiKey = value("api-key");
  if (apiKey !== undefined && !/^[\u0021-\u007E]+$/.test(apiKey.text)) {
    throw new UsageError(`${apiKey.source}: must be visible ASCII characters without spaces`);
  }
  return {
    port: port && integer(port, 0, 65_535),
    workers: workers === undefined ? 1 : integer(workers, 0, MAX_WORKERS),
    apiKey: apiKey?.text,
    model: modelFolders(value("model")),
    provider: provider(value("provider")),
    data: dataFolder(value("data")),
    queueLimit: queueLimit === undefined ? DEFAULT_QUEUE_LIMIT : integer(queueLimit, 1, MAX_QUEUE_LIMIT),
    listen: listen && listenAt(listen),
    leaseSeconds: lease === undefined ? DEFAULT_LEASE_MS / 1_000 : integer(lease, 1, MAX_LEASE_SECONDS),
  };
}

interface Given {
  /** The option or variable, for messages. */
  readonly source: string;
  readonly text: string;
}

/** An empty variable counts as unset. */
function variable(env: NodeJS.ProcessEnv, name: string): Given | undefined {
  const text = env[name];
  return text === undefined || text === "" ? undefined : { source: name, text };
}

function readArguments(args: readonly string[]): Map<string, string> {
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.keys(START_VARIABLES).map((name) => [name, { type: "string" as const }]),
    ),
    strict: false,
    tokens: true,
  });
  const given = new Map<string, string>();
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    if (token.kind === "positional")
      throw new UsageError(`unexpected argument "${token.value}" (see --help)`);
    if (!(token.name in START_VARIABLES))
      throw new UsageError(`unknown option ${token.rawName} (see --help)`);
    if (token.value === undefined || token.value === "")
      throw new UsageError(`${token.rawName}: needs a value`);
    given.set(token.name, token.value);
  }
  return given;
}

function integer({ source, text }: Given, min: number, max: number): number {
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (number >= min && number <= max) return number;
  throw new UsageError(`${source}: must be a whole number from ${min} to ${max}, not "${text}"`);
}

/** `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`. */
function listenAt({ source, text }: Given): Listen {
  const [, bracketed, plain, port] = /^(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::(\d+))?$/i.exec(text) ?? [];
  const host = bracketed ?? plain;
  const isAny = host === "0.0.0.0" || (host !== undefined && isIP(host) === 6 && /^[0:]+$/.test(host));
  if (host === undefined || isAny)
    throw new UsageError(
      `${source}: must be an address or name of this machine by which others reach it, with :PORT or without, not "${text}"`,
    );
  return {
    host,
    port: port === undefined ? DEFAULT_LISTEN_PORT : integer({ source, text: port }, 0, 65_535),
  };
}

function provider(given: Given | undefined): Provider {
  if (given === undefined) return "cpu";
  const known = PROVIDERS.find((name) => name === given.text);
  if (known !== undefined) return known;
  throw new UsageError(`${given.source}: must be one of ${PROVIDERS.join(", ")}, not "${given.text}"`);
}

/** Files that every checkpoint has; the worker checks their contents. */
const MODEL_FILES = [
  "model_index.json",
  "vqvae/config.json",
  "transformer/config.json",
  "scheduler/scheduler_config.json",
];
/** And if it is conditioned by text, which only models of the original code base need not be. */
const TEXT_ENCODER = "text_encoder/config.json";
/** One of these holds the vocabulary. */
const VOCABULARY_FILES = ["tokenizer/merges.txt", "tokenizer/tokenizer.json"];

/** One folder, or several, separated as in PATH. */
function modelFolders(given: Given | undefined): string {
  const { source, text } = given ?? { source: "bundled model", text: BUNDLED_MODEL };
  const folders = text.split(delimiter).filter((folder) => folder !== "");
  return folders.map((folder) => modelFolder({ source, text: folder })).join(delimiter);
}

function modelFolder({ source, text }: Given): string {
  const dir = resolve(text);
  if (!isDirectory(dir)) throw new UsageError(`${source}: no such folder: ${dir}`);
  const isMissing = (file: string): boolean => !existsSync(join(dir, file));
  const missing = MODEL_FILES.filter(isMissing);
  if (isMissing("model_index.json") || !hasNoText(join(dir, "model_index.json"))) {
    missing.push(...[TEXT_ENCODER].filter(isMissing));
    if (VOCABULARY_FILES.every(isMissing)) missing.push(VOCABULARY_FILES.join(" or "));
  }
  if (missing.length === 0) return dir;
  throw new UsageError(
    `${source}: ${dir} is not a VQ-Diffusion checkpoint in the diffusers layout: it has no ${missing.join(", ")}`,
  );
}

/** Whether the index says so; one that cannot be read is the worker's to refuse. */
function hasNoText(index: string): boolean {
  try {
    const { _class_name: name } = JSON.parse(readFileSync(index, "utf8")) as { _class_name?: unknown };
    return name === "VQDiffusionClassPipeline" || name === "VQDiffusionUnconditionalPipeline";
  } catch {
    return false;
  }
}

function dataFolder(given: Given | undefined): string {
  if (given === undefined) return DEFAULT_DATA;
  const dir = resolve(given.text);
  if (existsSync(dir) && !isDirectory(dir)) throw new UsageError(`${given.source}: ${dir} is not a folder`);
  return dir;
}

const isDirectory = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
