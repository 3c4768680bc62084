// The system under load: the whole stack on loopback, with a key for each caller and a short queue.

import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { REPO } from "../../../infra/stack/paths.ts";
import type { LogSink } from "../../../infra/stack/log.ts";
import { type Stack, startStack } from "../../../infra/stack/stack.ts";
import { onInterrupt } from "../interrupt.ts";
import { CALLERS } from "./callers.ts";
import type { Api } from "./client.ts";

export interface SystemOptions {
  readonly workers: number;
  readonly slots: number;
  /** Of each job of the load. */
  readonly steps: number;
  /** Jobs that may wait or run at once. */
  readonly queueLimit: number;
  readonly log?: LogSink;
}

export interface System extends AsyncDisposable {
  readonly stack: Stack;
  readonly api: Api;
}

const KEY_BYTES = 24;
/** It is the queue that is to refuse, not the limits of a key. */
const NO_LIMITS = {
  RATE_LIMIT_PER_MINUTE: "1000000",
  LIVE_LIMIT: "1000000",
  READ_LIMIT_PER_MINUTE: "1000000",
};

const newKey = (): string => `vqd_${randomBytes(KEY_BYTES).toString("base64url")}`;
const digestOf = (key: string): string => createHash("sha256").update(key).digest("hex");

/**
 * The bundled model on one thread for each worker: its step, not the edge, is then what limits the system, and the edge
 * and the callers have what is left of the machine.
 */
export async function startSystem({
  workers,
  slots,
  steps,
  queueLimit,
  log,
}: SystemOptions): Promise<System> {
  const data = mkdtempSync(join(tmpdir(), "vqd-load-"));
  const apiKey = newKey();
  const keys = new Map(CALLERS.map(({ name }) => [name, newKey()]));
  const hashes = [...keys, ["dev", apiKey] as const].map(([name, key]) => `${name}:${digestOf(key)}`);
  const remove = (): void => rmSync(data, { recursive: true, force: true });
  const release = onInterrupt(remove);
  try {
    const stack = await startStack({
      workers,
      data,
      apiKey,
      queueLimit,
      edgeEnv: { ...NO_LIMITS, API_KEYS: hashes.join(",") },
      workerEnv: {
        VQD_THREADS: "1",
        VQD_SLOTS: String(slots),
        // Its graphs are built once for all benches and tests.
        VQD_CACHE: join(REPO, ".vqd", "cache"),
      },
      ...(log === undefined ? {} : { log }),
    });
    return {
      stack,
      api: { url: stack.url, keys, steps },
      async [Symbol.asyncDispose]() {
        await stack.stop();
        release();
        remove();
      },
    };
  } catch (error) {
    release();
    remove();
    throw error;
  }
}
