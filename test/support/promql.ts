// PromQL by Prometheus' own grammar: whether a query is well formed, and which metrics and labels it names.

import { parser } from "@prometheus-io/lezer-promql";

export interface Selector {
  readonly metric: string;
  readonly labels: readonly string[];
}

/** Throws an Error for what is no PromQL. Grafana's variables are taken for durations. */
export function selectorsOf(query: string): Selector[] {
  const text = query.replaceAll("$__rate_interval", "5m");
  const selectors: Selector[] = [];
  const grouped: string[] = [];
  parser.parse(text).iterate({
    enter(node) {
      if (node.type.isError) {
        throw new Error(`${JSON.stringify(query)}: not PromQL at ${JSON.stringify(text.slice(node.from))}`);
      }
      if (node.name === "GroupingLabels")
        grouped.push(...(text.slice(node.from, node.to).match(/\w+/g) ?? []));
      if (node.name !== "VectorSelector") return;
      const selector = text.slice(node.from, node.to);
      const [metric = ""] = /^[\w:]+/.exec(selector) ?? [];
      selectors.push({
        metric,
        labels: [...selector.matchAll(/(\w+)\s*[=!]/g)].map(([, name = ""]) => name),
      });
    },
  });
  return selectors.map(({ metric, labels }) => ({ metric, labels: [...labels, ...grouped] }));
}
