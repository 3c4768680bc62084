// The edge in workerd, by wrangler, as a child of the stack.

import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { ChildSpec } from "./child.ts";
import { writePrivateFile } from "./files.ts";
import { EDGE_SERVER, NODE, REPO } from "./paths.ts";
import { wranglerLineParser } from "./wrangler-log.ts";

const READY_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 5_000;
const HEALTH_POLL_MS = 50;
/** The name under which the edge knows the stack's key. */
const KEY_ID = "dev";

export interface EdgeSettings {
  readonly port: number;
  readonly websocketPort: number;
  readonly password: string;
  readonly apiKey: string;
  readonly defaultModel: string;
  readonly dataDir: string;
  /** Whether workers are started too; else it serves when NATS does, and models come later. */
  readonly expectsModel: boolean;
  /** Wins over all others. */
  readonly env: Readonly<Record<string, string>>;
}

export function edgeChild(settings: EdgeSettings, baseEnv: NodeJS.ProcessEnv): ChildSpec {
  const { port, dataDir, expectsModel } = settings;
  const url = `http://127.0.0.1:${port}`;
  const persistTo = join(dataDir, "edge");
  mkdirSync(persistTo, { recursive: true });
  const envFile = join(dataDir, "edge.env");
  writePrivateFile(envFile, edgeVariables(settings, baseEnv["VQD_LOG_LEVEL"]));
  return {
    name: "edge",
    command: NODE,
    args: [
      // Wrangler's own modules use what Node warns of.
      "--no-warnings",
      EDGE_SERVER,
      "--config",
      join(REPO, "wrangler.toml"),
      "--port",
      String(port),
      "--persist-to",
      persistTo,
      "--env-file",
      envFile,
    ],
    cwd: REPO,
    env: { ...baseEnv, ...wranglerEnvironment(dataDir) },
    parser: wranglerLineParser,
    async ready({ line, signal }) {
      await line(/Ready on http/);
      while (!(await serves(url, expectsModel, signal))) await delay(HEALTH_POLL_MS, undefined, { signal });
    },
    readyLimitMs: READY_LIMIT_MS,
    stopLimitMs: STOP_LIMIT_MS,
  };
}

/** The edge keeps only hashes of keys, here as in a deployment. */
function edgeVariables(settings: EdgeSettings, logLevel: string | undefined): string {
  const keyHash = createHash("sha256").update(settings.apiKey).digest("hex");
  const variables: Record<string, string> = {
    NATS_URL: `ws://127.0.0.1:${settings.websocketPort}`,
    NATS_USER: "edge",
    NATS_PASSWORD: settings.password,
    API_KEYS: `${KEY_ID}:${keyHash}`,
    DEFAULT_MODEL: settings.defaultModel,
    // Whoever develops a receiver runs it here.
    WEBHOOK_ALLOW_LOOPBACK: "true",
    ...(logLevel ? { LOG_LEVEL: logLevel } : {}),
    ...settings.env,
  };
  return Object.entries(variables)
    .map(([name, value]) => {
      // The file's format would take these for the end of the value or for a reference to a variable.
      if (/['\r$\\]/.test(value))
        throw new Error(`${name}: a variable of the edge cannot hold ' $ \\ or carriage returns`);
      return `${name}='${value}'\n`;
    })
    .join("");
}

/** Wrangler without its calls home, its files outside the data folder, and its colours. */
function wranglerEnvironment(dataDir: string): NodeJS.ProcessEnv {
  return {
    WRANGLER_SEND_METRICS: "false",
    WRANGLER_SEND_ERROR_REPORTS: "false",
    WRANGLER_HIDE_BANNER: "true",
    WRANGLER_WRITE_LOGS: "false",
    WRANGLER_REGISTRY_PATH: join(dataDir, "wrangler-registry"),
    CLOUDFLARE_CF_FETCH_ENABLED: "false",
    // It would write a trace of each request to a database of its own, and wait for the disk.
    X_LOCAL_OBSERVABILITY: "false",
    // It would let whoever reaches the port read and write every binding, without a key: SQLite, KV, R2.
    X_LOCAL_EXPLORER: "false",
    NO_COLOR: "1",
    FORCE_COLOR: undefined,
  };
}

async function serves(url: string, expectsModel: boolean, signal: AbortSignal): Promise<boolean> {
  const response = await fetch(`${url}/healthz`, { signal }).catch(() => undefined);
  const health = (await response?.json().catch(() => undefined)) as { nats?: unknown } | undefined;
  return expectsModel ? response?.ok === true : health?.nats === "connected";
}
