// A hub's metrics for Prometheus. Kept in memory: storing a count would be a billed write for every event.

const SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const DISPATCH_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

interface Metric {
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  /** Upper bounds of a histogram's buckets; the unbounded bucket is added. */
  readonly buckets?: readonly number[];
  /** Name and values of its label. All values are exported from the start, so that their rate is zero rather than missing. */
  readonly label?: readonly [string, readonly string[]];
}

/** A gauge's value with labels that are not known beforehand. Their values need no escaping: see `modelNameSchema`. */
export interface Labelled {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** All metrics of a hub; each also carries the label `shard`. */
export const HUB_METRICS = {
  vqd_hub_predictions_created_total: { type: "counter", help: "Predictions accepted by the queue." },
  vqd_hub_predictions_total: {
    type: "counter",
    help: "Predictions that have ended, by status.",
    label: ["status", ["succeeded", "failed", "canceled", "aborted"]],
  },
  vqd_hub_refused_total: {
    type: "counter",
    help: "Predictions that were refused, by error code.",
    label: [
      "code",
      [
        "queue_full",
        "queue_unavailable",
        "rate_limited",
        "too_many_live",
        "storage_full",
        "quota_exceeded",
        "other",
      ],
    ],
  },
  vqd_hub_predictions_live: {
    type: "gauge",
    help: "Predictions that have not ended, by state.",
    label: ["state", ["starting", "processing"]],
  },
  vqd_hub_predictions_held: {
    type: "gauge",
    help: "Predictions that wait in the hub for their owner's turn; not in the workers' queue yet.",
  },
  vqd_hub_backlog_predictions: {
    type: "gauge",
    help: "Predictions that wait, here or in the workers' queue, or run, by model, version and priority.",
  },
  vqd_hub_backlog_image_steps: {
    type: "gauge",
    help: "Steps that the same predictions have yet to make, times images.",
  },
  vqd_hub_image_step_seconds: {
    type: "gauge",
    help: "Seconds that a step of an image takes, by recent predictions or what workers announce; left out while unknown.",
  },
  vqd_hub_preemptions_total: {
    type: "counter",
    help: "Running predictions that were asked to make room for one of another owner.",
  },
  vqd_hub_dispatch_duration_seconds: {
    type: "histogram",
    help: "Time until the queue confirms a prediction.",
    buckets: DISPATCH_SECONDS,
  },
  vqd_hub_queue_wait_seconds: {
    type: "histogram",
    help: "Time from a prediction's creation to its first step.",
    buckets: SECONDS,
  },
  vqd_hub_prediction_duration_seconds: {
    type: "histogram",
    help: "Time from a prediction's creation to its success.",
    buckets: SECONDS,
  },
  vqd_hub_events_total: { type: "counter", help: "Messages of the events stream that changed a prediction." },
  vqd_hub_events_behind_seconds: {
    type: "gauge",
    help: "Age of the oldest event that has yet to be applied, 0 for none; left out while none are needed.",
  },
  vqd_hub_events_headroom_seconds: {
    type: "gauge",
    help: "Time from the oldest event that the stream keeps to the hub's position in it.",
  },
  vqd_hub_events_headroom_messages: {
    type: "gauge",
    help: "The same in messages of all hubs; below 0, some are gone that the hub had not read.",
  },
  vqd_hub_events_refused_total: {
    type: "counter",
    help: "Messages of the events stream that were rejected, by reason.",
    label: ["reason", ["unreadable", "contradictory", "unapplicable", "misplaced"]],
  },
  vqd_hub_records_archived_total: { type: "counter", help: "Records moved to the archive." },
  vqd_hub_archive_failures_total: {
    type: "counter",
    help: "Failures to write, read or delete archives; what was to be done is tried again.",
  },
  vqd_hub_rows_written_total: {
    type: "counter",
    help: "Rows written to the database, entries of indexes included: what it is billed by.",
  },
  vqd_hub_database_bytes: { type: "gauge", help: "Size of the database; one may have 10 GB." },
  vqd_hub_events_parked: { type: "gauge", help: "Events waiting for object storage to accept an image." },
  vqd_hub_manifests_refused_total: {
    type: "counter",
    help: "Model manifests that were unreadable, or for another model than their subject's.",
  },
  vqd_hub_images_stored_total: { type: "counter", help: "Images written to object storage." },
  vqd_hub_image_failures_total: {
    type: "counter",
    help: "Failed attempts to write an image to object storage.",
  },
  vqd_hub_webhook_attempts_total: {
    type: "counter",
    help: "Attempts to deliver a webhook, by result.",
    label: ["result", ["delivered", "retried", "failed", "disabled"]],
  },
  vqd_hub_webhooks_pending: { type: "gauge", help: "Webhooks waiting to be delivered." },
  vqd_hub_readers: { type: "gauge", help: "Open event streams." },
  vqd_hub_nats_connected: {
    type: "gauge",
    help: "1 while connected to NATS; an idle hub is not.",
  },
  vqd_hub_nats_connections_total: { type: "counter", help: "Connections to NATS opened." },
} as const satisfies Record<string, Metric>;

type Names<Type extends Metric["type"]> = {
  [Name in keyof typeof HUB_METRICS]: (typeof HUB_METRICS)[Name]["type"] extends Type ? Name : never;
}[keyof typeof HUB_METRICS];
export type HubGauges = Record<
  Names<"gauge">,
  number | Readonly<Record<string, number>> | readonly Labelled[]
>;

/** One line of the text format, without the shard label. */
export interface Sample {
  readonly metric: keyof typeof HUB_METRICS;
  /** Appended to the metric's name: _bucket, _sum or _count. */
  readonly suffix: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Observed {
  readonly counts: number[];
  sum: number;
}

/** A gauge that is left out while it has no value. */
export const optional = (value: number | undefined): readonly Labelled[] =>
  value === undefined ? [] : [{ labels: {}, value }];

const isLabelled = (gauge: HubGauges[keyof HubGauges]): gauge is readonly Labelled[] => Array.isArray(gauge);

export class HubMetrics {
  readonly #counters = new Map<string, number>();
  readonly #histograms = new Map<string, Observed>();

  /** `label` is the value of the metric's label; an unknown value counts as "other". */
  count(metric: Names<"counter">, label?: string, by = 1): void {
    const { label: known }: Metric = HUB_METRICS[metric];
    const value = known === undefined || label === undefined || known[1].includes(label) ? label : "other";
    const key = `${metric} ${value ?? ""}`;
    this.#counters.set(key, (this.#counters.get(key) ?? 0) + by);
  }

  observe(metric: Names<"histogram">, seconds: number): void {
    const { buckets }: Metric = HUB_METRICS[metric];
    const bounds = buckets ?? [];
    let observed = this.#histograms.get(metric);
    if (observed === undefined) {
      observed = { counts: Array.from({ length: bounds.length + 1 }, () => 0), sum: 0 };
      this.#histograms.set(metric, observed);
    }
    const at = bounds.findIndex((bound) => seconds <= bound);
    const place = at === -1 ? bounds.length : at;
    observed.counts[place] = (observed.counts[place] ?? 0) + 1;
    observed.sum += seconds;
  }

  /** Samples of all metrics, with the given values for the gauges. */
  samples(gauges: HubGauges): Sample[] {
    return (Object.keys(HUB_METRICS) as (keyof typeof HUB_METRICS)[]).flatMap((metric) => {
      const described: Metric = HUB_METRICS[metric];
      if (described.type === "histogram") return this.#histogram(metric, described.buckets ?? []);
      const gauge = described.type === "gauge" ? gauges[metric as keyof HubGauges] : 0;
      if (isLabelled(gauge)) return gauge.map((one) => ({ metric, suffix: "", ...one }));
      const valueOf = (label: string): number => {
        if (described.type === "counter") return this.#counters.get(`${metric} ${label}`) ?? 0;
        return typeof gauge === "number" ? gauge : (gauge[label] ?? 0);
      };
      const [name, values] = described.label ?? ["", [""]];
      return values.map((value) => ({
        metric,
        suffix: "",
        labels: name === "" ? {} : { [name]: value },
        value: valueOf(value),
      }));
    });
  }

  #histogram(metric: keyof typeof HUB_METRICS, bounds: readonly number[]): Sample[] {
    const { counts = [], sum = 0 } = this.#histograms.get(metric) ?? {};
    let total = 0;
    const buckets = [...bounds, Infinity].map((bound, index) => {
      total += counts[index] ?? 0;
      const le = bound === Infinity ? "+Inf" : `${bound}`;
      return { metric, suffix: "_bucket", labels: { le }, value: total };
    });
    return [
      ...buckets,
      { metric, suffix: "_sum", labels: {}, value: sum },
      { metric, suffix: "_count", labels: {}, value: total },
    ];
  }
}
