// The metrics of all hubs, for Prometheus.

import type { AppContext } from "../http/context.ts";
import { EXPOSITION_TYPE, exposition } from "../telemetry/exposition.ts";
import { errorFields } from "@vqd/shared/log.ts";

/** `GET /metrics`: of the hubs of all shards. One that does not respond is left out and logged. */
export async function getMetrics(c: AppContext): Promise<Response> {
  const answers = await c.get("hubs").ofAll(async (hub, shard) => {
    try {
      return [[shard, await hub.metrics()] as const];
    } catch (error) {
      c.get("log").warn("a hub does not respond", { shard, ...errorFields(error) });
      return [];
    }
  });
  const text = exposition(new Map(answers.flat()));
  return c.body(text, 200, { "content-type": EXPOSITION_TYPE, "cache-control": "no-store" });
}
