// The edge in workerd as a child of the stack.

import { createHash, generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { ChildSpec } from "./child.ts";
import { privateFolder, writePrivateFile } from "../files.ts";
import { parseJsonLog } from "../log.ts";
import { EDGE_SERVE, NODE, REPO } from "../paths.ts";

const READY_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 5_000;
const HEALTH_POLL_MS = 50;
/** The name of the stack's key at the edge. */
const KEY_ID = "dev";

export interface EdgeSettings {
  /** Made by infra/edge/program.ts. */
  readonly programDir: string;
  readonly port: number;
  readonly websocketPort: number;
  readonly password: string;
  readonly apiKey: string;
  readonly defaultModel: string;
  readonly dataDir: string;
  /** Whether the stack starts workers too; otherwise the edge counts as ready without a model. */
  readonly expectsModel: boolean;
  /** Takes precedence over all other variables. */
  readonly env: Readonly<Record<string, string>>;
}

export function edgeChild(settings: EdgeSettings, baseEnv: NodeJS.ProcessEnv): ChildSpec {
  const { programDir, port, dataDir, expectsModel } = settings;
  const url = `http://127.0.0.1:${port}`;
  const data = privateFolder(join(dataDir, "edge"));
  const envFile = join(dataDir, "edge.env");
  writePrivateFile(envFile, edgeVariables(settings, baseEnv["VQD_LOG_LEVEL"]));
  const options = { program: programDir, data, "env-file": envFile, port: String(port) };
  return {
    name: "edge",
    command: NODE,
    args: [EDGE_SERVE, ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])],
    cwd: REPO,
    env: baseEnv,
    // By this it notices that the stack is gone, and stops.
    ipc: true,
    parser: () => parseJsonLog,
    async ready({ signal }) {
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
    RECEIPT_KEY: receiptKey(join(settings.dataDir, "receipt-key.pem")),
    NATS_URL: `ws://127.0.0.1:${settings.websocketPort}`,
    NATS_USER: "edge",
    NATS_PASSWORD: settings.password,
    API_KEYS: `${KEY_ID}:${keyHash}`,
    DEFAULT_MODEL: settings.defaultModel,
    // A receiver under development runs on this machine.
    WEBHOOK_ALLOW_LOOPBACK: "true",
    ...(logLevel ? { LOG_LEVEL: logLevel } : {}),
    ...settings.env,
  };
  return Object.entries(variables)
    .map(([name, value]) => {
      // The file's format cannot represent it within such quotes.
      if (value.includes("'")) throw new Error(`${name}: a variable of the edge must not contain '`);
      return `${name}='${value}'\n`;
    })
    .join("");
}

/** The key that signs receipts, made at the first start. */
function receiptKey(path: string): string {
  if (!existsSync(path)) {
    const { privateKey } = generateKeyPairSync("ed25519");
    writePrivateFile(path, privateKey.export({ type: "pkcs8", format: "pem" }).toString());
  }
  return readFileSync(path, "utf8");
}

async function serves(url: string, expectsModel: boolean, signal: AbortSignal): Promise<boolean> {
  const response = await fetch(`${url}/healthz`, { signal }).catch(() => undefined);
  const health = (await response?.json().catch(() => undefined)) as { nats?: unknown } | undefined;
  return expectsModel ? response?.ok === true : health?.nats === "connected";
}
