// A GPU worker as a child of the stack.

import { once } from "node:events";
import type { ReadyMessage } from "@vqd/gpu-worker/main.ts";
import type { ChildSpec } from "./child.ts";
import { parseJsonLog } from "../log.ts";
import { NODE, REPO, WORKER_MAIN } from "../paths.ts";

/** The first start with a model builds its graphs and checks them. */
const READY_LIMIT_MS = 300_000;
/** It finishes the current step and hands its jobs back. */
const STOP_LIMIT_MS = 10_000;

export interface WorkerSettings {
  readonly natsUrl: string;
  readonly password: string;
  readonly model: string;
  readonly provider: string;
  /** Used unless VQD_THREADS is set. */
  readonly threads: number;
  readonly cacheDir: string;
  /** Takes precedence over all other variables. */
  readonly env: Readonly<Record<string, string>>;
}

/** Unsets variables meant for workers elsewhere: to the worker, an empty variable counts as unset. */
const NO_OTHER_NATS = { VQD_NATS_CREDS: "", VQD_NATS_CA: "", VQD_NATS_CERT: "", VQD_NATS_KEY: "" };

export function workerChild(number: number, settings: WorkerSettings, baseEnv: NodeJS.ProcessEnv): ChildSpec {
  return {
    name: `worker ${number}`,
    command: NODE,
    args: [WORKER_MAIN],
    cwd: REPO,
    env: {
      ...baseEnv,
      ...NO_OTHER_NATS,
      VQD_NATS_URL: settings.natsUrl,
      VQD_NATS_USER: "worker",
      VQD_NATS_PASSWORD: settings.password,
      VQD_MODEL: settings.model,
      VQD_PROVIDER: settings.provider,
      VQD_THREADS: baseEnv["VQD_THREADS"] || String(settings.threads),
      VQD_CACHE: settings.cacheDir,
      VQD_HEALTH_PORT: "0",
      ...settings.env,
    },
    ipc: true,
    parser: () => parseJsonLog,
    async ready({ process, signal }) {
      for (;;) {
        const [message] = (await once(process, "message", { signal })) as [unknown];
        if (isReadyMessage(message)) return;
      }
    },
    readyLimitMs: READY_LIMIT_MS,
    stopLimitMs: STOP_LIMIT_MS,
  };
}

function isReadyMessage(message: unknown): message is ReadyMessage {
  return typeof message === "object" && message !== null && "type" in message && message.type === "ready";
}
