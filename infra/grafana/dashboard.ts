// The Grafana dashboard, made from a list of its panels: `node_modules/.bin/node infra/grafana/dashboard.ts > infra/grafana/dashboard.json`.

interface Panel {
  readonly title: string;
  readonly description: string;
  /** Grafana's identifier of a unit. */
  readonly unit: string;
  /** PromQL by legend. */
  readonly queries: Readonly<Record<string, string>>;
}

const quantiles = (metric: string, by: string, legend: string): Record<string, string> =>
  Object.fromEntries(
    [0.5, 0.95].map((q) => [
      `p${q * 100} ${legend}`.trim(),
      `histogram_quantile(${q}, sum by (${["le", by].filter((label) => label !== "").join(", ")}) (rate(${metric}_bucket[$__rate_interval])))`,
    ]),
  );
const rate = (metric: string, by: string): string => `sum by (${by}) (rate(${metric}[$__rate_interval]))`;

const ROWS: Readonly<Record<string, readonly Panel[]>> = {
  "What callers see": [
    {
      title: "Finished predictions",
      description: "By final status.",
      unit: "reqps",
      queries: { "{{status}}": rate("vqd_hub_predictions_total", "status") },
    },
    {
      title: "Failure rate",
      description: "Share of finished predictions that failed.",
      unit: "percentunit",
      queries: {
        failed: `sum(rate(vqd_hub_predictions_total{status="failed"}[$__rate_interval])) / sum(rate(vqd_hub_predictions_total[$__rate_interval]))`,
      },
    },
    {
      title: "Refused",
      description: "Predictions that were not accepted (503 or 429), by reason.",
      unit: "reqps",
      queries: { "{{code}}": rate("vqd_hub_refused_total", "code") },
    },
    {
      title: "From creation to success",
      description: "Including time in the queue.",
      unit: "s",
      queries: quantiles("vqd_hub_prediction_duration_seconds", "", ""),
    },
  ],
  Queue: [
    {
      title: "Live predictions",
      description: "starting: waiting for a worker.",
      unit: "short",
      queries: { "{{state}}": "sum by (state) (vqd_hub_predictions_live)" },
    },
    {
      title: "Wait for the first step",
      description: "From creation at the edge.",
      unit: "s",
      queries: quantiles("vqd_hub_queue_wait_seconds", "", ""),
    },
    {
      title: "Wait at the workers",
      description: "Until a worker receives the job.",
      unit: "s",
      queries: quantiles("vqd_queue_wait_seconds", "", ""),
    },
    {
      title: "Dispatch",
      description: "Until the queue confirms a prediction; takes seconds while servers elect a leader.",
      unit: "s",
      queries: quantiles("vqd_hub_dispatch_duration_seconds", "", ""),
    },
  ],
  Workers: [
    {
      title: "Workers by status",
      description: "",
      unit: "short",
      queries: { "{{status}}": "sum by (status) (vqd_worker_status)" },
    },
    {
      title: "Step time by batch",
      description: "Duration of a transformer pass, by its number of images rounded up to a power of two.",
      unit: "s",
      queries: quantiles("vqd_step_duration_seconds", "model, batch", "{{model}} of {{batch}}"),
    },
    {
      title: "Slots in use",
      description: "",
      unit: "percentunit",
      queries: {
        "{{instance}}": "sum by (instance) (vqd_slots_busy) / sum by (instance) (vqd_slots)",
      },
    },
    {
      title: "Tokens",
      description: "Latent tokens per second, each counted at every step.",
      unit: "ops",
      queries: { "{{model}}": rate("vqd_tokens_total", "model") },
    },
    {
      title: "Finished deliveries",
      description: "By outcome.",
      unit: "ops",
      queries: { "{{outcome}}": rate("vqd_jobs_total", "outcome") },
    },
    {
      title: "Resumes, lost leases, unreadable messages",
      description: "Within five minutes.",
      unit: "short",
      queries: {
        resumed: "sum(increase(vqd_job_resumes_total[5m]))",
        "lease lost": `sum(increase(vqd_jobs_total{outcome="lease_lost"}[5m]))`,
        unreadable: "sum(increase(vqd_messages_rejected_total[5m]))",
      },
    },
    {
      title: "Job time at the worker",
      description: "From receipt to the last image.",
      unit: "s",
      queries: quantiles("vqd_job_duration_seconds", "", ""),
    },
    {
      title: "Memory",
      description: "Resident memory of the process; on a GPU, the weights are not part of it.",
      unit: "bytes",
      queries: { "{{instance}}": "process_resident_memory_bytes" },
    },
  ],
  "Hub and NATS": [
    {
      title: "Event streams and events",
      description: "Open streams; messages per second that took effect.",
      unit: "short",
      queries: {
        readers: "sum(vqd_hub_readers)",
        "events/s": "sum(rate(vqd_hub_events_total[$__rate_interval]))",
      },
    },
    {
      title: "Place in the events stream",
      description: "Of the slowest hub: how far it is behind, and from the oldest event that is kept.",
      unit: "s",
      queries: {
        behind: "max(vqd_hub_events_behind_seconds)",
        "to the oldest": "min(vqd_hub_events_headroom_seconds)",
      },
    },
    {
      title: "Webhooks",
      description: "Attempts by result, and pending deliveries.",
      unit: "short",
      queries: {
        "{{result}}/s": rate("vqd_hub_webhook_attempts_total", "result"),
        pending: "sum(vqd_hub_webhooks_pending)",
      },
    },
    {
      title: "Images stored",
      description: "",
      unit: "ops",
      queries: {
        stored: "sum(rate(vqd_hub_images_stored_total[$__rate_interval]))",
        failed: "sum(rate(vqd_hub_image_failures_total[$__rate_interval]))",
      },
    },
    {
      title: "Connections to NATS",
      description: "Workers and hubs; an idle hub has none.",
      unit: "short",
      queries: {
        workers: "sum(vqd_nats_connected)",
        hubs: "sum(vqd_hub_nats_connected)",
        "reconnects in 5m": "sum(increase(vqd_nats_reconnects_total[5m]))",
      },
    },
  ],
};

const COLUMNS = 4;
const [WIDTH, HEIGHT] = [24 / COLUMNS, 8];
const datasource = { type: "prometheus", uid: "${datasource}" };

export function dashboard(): object {
  const panels: object[] = [];
  let [id, y] = [1, 0];
  for (const [title, row] of Object.entries(ROWS)) {
    panels.push({
      id: id++,
      type: "row",
      title,
      collapsed: false,
      gridPos: { x: 0, y: y++, w: 24, h: 1 },
      panels: [],
    });
    for (const [index, panel] of row.entries()) {
      const gridPos = {
        x: (index % COLUMNS) * WIDTH,
        y: y + Math.floor(index / COLUMNS) * HEIGHT,
        w: WIDTH,
        h: HEIGHT,
      };
      panels.push({
        id: id++,
        type: "timeseries",
        title: panel.title,
        description: panel.description,
        datasource,
        gridPos,
        fieldConfig: { defaults: { unit: panel.unit, min: 0 }, overrides: [] },
        targets: Object.entries(panel.queries).map(([legendFormat, expr], place) => ({
          refId: String.fromCodePoint("A".charCodeAt(0) + place),
          datasource,
          expr,
          legendFormat,
        })),
      });
    }
    y += Math.ceil(row.length / COLUMNS) * HEIGHT;
  }
  return {
    uid: "vqd",
    title: "vqd",
    tags: ["vqd"],
    timezone: "browser",
    schemaVersion: 39,
    refresh: "30s",
    time: { from: "now-3h", to: "now" },
    templating: {
      list: [{ name: "datasource", type: "datasource", query: "prometheus", label: "Prometheus" }],
    },
    panels,
  };
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(dashboard(), undefined, 2)}\n`);
