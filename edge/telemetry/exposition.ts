// The hubs' metrics in Prometheus' text format (version 0.0.4).

import { HUB_METRICS, type Sample } from "../hub/metrics.ts";

export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** Samples of all hubs by shard, grouped by metric as the format requires. */
export function exposition(shards: ReadonlyMap<number, readonly Sample[]>): string {
  const lines: string[] = [];
  for (const [metric, { type, help }] of Object.entries(HUB_METRICS)) {
    lines.push(`# HELP ${metric} ${help}`, `# TYPE ${metric} ${type}`);
    for (const [shard, samples] of shards) {
      for (const { suffix, labels, value } of samples.filter((sample) => sample.metric === metric)) {
        // Label values are constants of this code, or names and versions of models: none needs escaping.
        const pairs = Object.entries({ shard, ...labels }).map(([name, text]) => `${name}="${text}"`);
        lines.push(`${metric}${suffix}{${pairs.join(",")}} ${value}`);
      }
    }
  }
  return `${lines.join("\n")}\n`;
}
