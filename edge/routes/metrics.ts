// The metrics of all hubs, for Prometheus.

import type { AppContext } from "../http/context.ts";
import { EXPOSITION_TYPE, exposition } from "../telemetry/exposition.ts";
import type { Sample } from "../hub/metrics.ts";
import { errorFields } from "@vqd/shared/log.ts";

/** Hubs queried at a time: the number of connections a Worker may have waiting for a response. */
const AT_ONCE = 6;

/** `GET /metrics`: of the hubs of all shards. One that does not respond is left out and logged. */
export async function getMetrics(c: AppContext): Promise<Response> {
  const hubs = c.get("hubs");
  const samples = new Map<number, readonly Sample[]>();
  for (let first = 0; first < hubs.shards; first += AT_ONCE) {
    const shards = Array.from({ length: Math.min(AT_ONCE, hubs.shards - first) }, (_, i) => first + i);
    const answers = await Promise.allSettled(shards.map((shard) => hubs.ofShard(shard).metrics()));
    for (const [i, answer] of answers.entries()) {
      if (answer.status === "fulfilled") samples.set(first + i, answer.value);
      else c.get("log").warn("a hub does not respond", { shard: first + i, ...errorFields(answer.reason) });
    }
  }
  return c.body(exposition(samples), 200, { "content-type": EXPOSITION_TYPE, "cache-control": "no-store" });
}
