// nats-server as a child of the stack.

import { setTimeout as delay } from "node:timers/promises";
import type { NatsPorts } from "../../nats/config.ts";
import type { NatsServer } from "../../nats/server.ts";
import type { ChildSpec } from "./child.ts";
import { parseNatsLine } from "../log.ts";
import { REPO } from "../paths.ts";

/** After a crash, reading a store of several GiB takes a while. */
const READY_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 5_000;
const HEALTH_POLL_MS = 50;

export function natsChild(server: NatsServer, configPath: string, ports: NatsPorts): ChildSpec {
  return {
    name: "nats",
    command: server.path,
    args: ["--config", configPath],
    cwd: REPO,
    env: { ...process.env },
    parser: () => parseNatsLine,
    async ready({ line, signal }) {
      await line(/\[INF\] Server is ready/);
      // JetStream may still be recovering its streams.
      while (!(await isHealthy(ports.monitor, signal))) await delay(HEALTH_POLL_MS, undefined, { signal });
    },
    readyLimitMs: READY_LIMIT_MS,
    stopLimitMs: STOP_LIMIT_MS,
  };
}

async function isHealthy(monitorPort: number, signal: AbortSignal): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${monitorPort}/healthz`, { signal }).catch(() => undefined);
  await response?.body?.cancel();
  return response?.ok ?? false;
}
