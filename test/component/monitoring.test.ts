// Dashboard and alerts as files: made from their sources, well formed, and each alert with its runbook entry.

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { parse } from "yaml";
import { batchLabel, WorkerMetrics } from "../../gpu-worker/telemetry/metrics.ts";
import { dashboard } from "../../infra/grafana/dashboard.ts";
import { REPO } from "../../infra/stack/paths.ts";
import { isRunnable } from "../support/cli.ts";
import { selectorsOf } from "../support/promql.ts";

const GRAFANA = join(REPO, "infra", "grafana");
const PROMTOOL = process.env["VQD_PROMTOOL"] || "promtool";
const read = (file: string): string => readFileSync(join(GRAFANA, file), "utf8");

it("has the dashboard that its source makes", () => {
  expect(JSON.parse(read("dashboard.json"))).toEqual(dashboard());
});

it("has a runbook entry, a severity and a summary for each alert", () => {
  const { groups } = parse(read("alerts.yaml")) as {
    groups: { rules: { alert: string; labels: object; annotations: Record<string, string> }[] }[];
  };
  const runbook = readFileSync(join(REPO, "docs", "operate.md"), "utf8");
  const rules = groups.flatMap((group) => group.rules);
  expect(rules.length).toBeGreaterThan(10);
  for (const { alert, labels, annotations } of rules) {
    expect(labels).toHaveProperty("severity");
    expect(annotations["summary"]).toMatch(/\.$/);
    expect(annotations["runbook_url"]).toBe(`docs/operate.md#${alert.toLowerCase()}`);
    expect(runbook).toContain(`\n### ${alert}\n\n`);
  }
  expect(runbook.match(/^### Vqd/gm)).toHaveLength(rules.length);
});

it.skipIf(!isRunnable(PROMTOOL))(
  "has alerts that fire when they should, by Prometheus' own tool",
  async () => {
    const run = (...args: string[]) => promisify(execFile)(PROMTOOL, args, { cwd: GRAFANA });
    await run("check", "rules", "alerts.yaml");
    await run("check", "config", "--syntax-only", "prometheus.yaml");
    await run("test", "rules", "alerts.test.yaml");
  },
);

it("tells PromQL from what is none", () => {
  expect(selectorsOf('sum by (a) (rate(x_total{b="1"}[$__rate_interval]))')).toEqual([
    { metric: "x_total", labels: ["b", "a"] },
  ]);
  expect(() => selectorsOf("sum(rate(x_total[5m])")).toThrow(/not PromQL/);
});

it.each([
  [1, "1"],
  [3, "4"],
  [64, "64"],
  [65, ">64"],
])("puts a batch of %s under %s", (slots, label) => {
  expect(batchLabel(slots)).toBe(label);
});

it("counts a worker's passes and jobs", async () => {
  const metrics = new WorkerMetrics();
  const slot = { tokens: new Uint16Array(16) };
  const model = "vqd/tiny";
  metrics.passMade(model, [slot, slot, slot], 0.02);
  metrics.jobStarted({ model, createdAt: Date.now() + 60_000 }, { attempt: 1, step: 0 });
  metrics.jobStarted({ model, createdAt: 0 }, { attempt: 2, step: 5 });
  metrics.jobEnded(model, "lease_lost", 1);
  const text = await metrics.render();
  expect(text).toContain('vqd_step_duration_seconds_count{model="vqd/tiny",batch="4"} 1');
  expect(text).toContain('vqd_tokens_total{model="vqd/tiny"} 48');
  // A clock that is ahead makes no negative wait, and a second attempt none at all.
  expect(text).toContain('vqd_queue_wait_seconds_sum{model="vqd/tiny"} 0');
  expect(text).toContain('vqd_queue_wait_seconds_count{model="vqd/tiny"} 1');
  expect(text).toContain('vqd_job_resumes_total{model="vqd/tiny"} 1');
  expect(text).toContain('vqd_jobs_total{model="vqd/tiny",outcome="lease_lost"} 1');
});
