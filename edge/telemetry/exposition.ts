// Prometheus' text format (version 0.0.4) of what the hubs have counted.

import { HUB_METRICS, type Sample } from "../hub/metrics.ts";

export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** The samples of each shard's hub, by metric, as the format wants it. */
export function exposition(shards: ReadonlyMap<number, readonly Sample[]>): string {
  const lines: string[] = [];
  for (const [metric, { type, help }] of Object.entries(HUB_METRICS)) {
    lines.push(`# HELP ${metric} ${help}`, `# TYPE ${metric} ${type}`);
    for (const [shard, samples] of shards) {
      for (const { suffix, labels, value } of samples.filter((sample) => sample.metric === metric)) {
        // Values of labels are all this code's own: none needs escaping.
        const pairs = Object.entries({ shard, ...labels }).map(([name, text]) => `${name}="${text}"`);
        lines.push(`${metric}${suffix}{${pairs.join(",")}} ${value}`);
      }
    }
  }
  return `${lines.join("\n")}\n`;
}
