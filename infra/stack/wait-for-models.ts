// Waits until the edge lists the models of the stack's workers.

import { setTimeout as delay } from "node:timers/promises";
import type { LogSink } from "./log.ts";

const MODELS_LIMIT_MS = 15_000;
/** From the first model that the edge lists to the last: they are announced one after another. */
const OTHER_MODELS_LIMIT_MS = 5_000;
const OTHER_MODELS_POLL_MS = 500;
const MODELS_POLL_MS = 50;

const modelNameOf = (key: string): string => key.split("--").slice(0, 2).join("/");

/**
 * Announcements take a moment to arrive at the edge. A model that is refused is reported, if there are others. Throws an Error if
 * none is listed within 15 s.
 */
export async function waitForModels(
  edge: { readonly url: string; readonly apiKey: string },
  modelKeys: readonly string[],
  log: LogSink,
): Promise<void> {
  const signal = AbortSignal.timeout(MODELS_LIMIT_MS);
  const headers = { authorization: `Bearer ${edge.apiKey}` };
  let firstAt: number | undefined;
  for (;;) {
    const response = await fetch(`${edge.url}/v1/models`, { headers, signal }).catch(() => undefined);
    const body = (await response?.json().catch(() => undefined)) as { data?: { id: string }[] } | undefined;
    const listed = new Set(response?.ok ? body?.data?.map(({ id }) => id) : []);
    const missing = [...new Set(modelKeys.map(modelNameOf))].filter((name) => !listed.has(name));
    if (listed.size > 0) {
      if (missing.length === 0) return;
      firstAt ??= performance.now();
      if (performance.now() - firstAt > OTHER_MODELS_LIMIT_MS) {
        const text = `not served: ${missing.join(", ")}; the lines above say why`;
        log({ source: "stack", level: "warn", text });
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
