// The worker's Prometheus metrics: work done, speed and status. Labels have few values: models are those served.

import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";
import type { Job } from "@vqd/shared/job.ts";
import type { WorkerStats } from "@vqd/shared/nats/micro.ts";
import type { HealthStatus } from "./health.ts";

/**
 * The outcome of a job's delivery. `retried`: the attempt failed, and the job goes back to the queue. `yielded`: its hub asked for
 * it, so that another owner's job could start.
 */
export const JOB_OUTCOMES = [
  "succeeded",
  "failed",
  "canceled",
  "retried",
  "handed_back",
  "yielded",
  "lease_lost",
] as const;
export type JobOutcome = (typeof JOB_OUTCOMES)[number];

const STATUSES: readonly HealthStatus[] = ["starting", "ready", "busy", "draining", "failed"];

/** From a step of a small model on a GPU to one of a large model on a CPU. */
const STEP_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const JOB_SECONDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const WAIT_SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** Batch sizes as a label, rounded up to a power of two, so that there are few values. */
const MAX_BATCH_LABEL = 64;
export function batchLabel(slots: number): string {
  const power = 2 ** Math.ceil(Math.log2(Math.max(1, slots)));
  return power > MAX_BATCH_LABEL ? `>${MAX_BATCH_LABEL}` : `${power}`;
}

interface Described {
  readonly status: HealthStatus;
  readonly natsConnected: boolean;
  readonly models: readonly WorkerStats[];
}

export class WorkerMetrics {
  readonly #registry = new Registry();
  readonly #steps: Histogram<"model" | "batch">;
  readonly #tokens: Counter<"model">;
  readonly #jobs: Counter<"model" | "outcome">;
  readonly #jobSeconds: Histogram<"model">;
  readonly #queueWait: Histogram<"model">;
  readonly #resumes: Counter<"model">;
  readonly #rejected: Counter;
  readonly #reconnects: Counter;

  constructor() {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    // Gauges named like counters, which Prometheus' linter objects to.
    for (const kind of ["handles", "requests", "resources"]) {
      this.#registry.removeSingleMetric(`nodejs_active_${kind}_total`);
    }
    this.#steps = new Histogram({
      name: "vqd_step_duration_seconds",
      help: "Duration of a transformer pass, by number of images rounded up to a power of two.",
      labelNames: ["model", "batch"],
      buckets: STEP_SECONDS,
      registers,
    });
    this.#tokens = new Counter({
      name: "vqd_tokens_total",
      help: "Latent tokens processed: images times latent pixels, counted once per step.",
      labelNames: ["model"],
      registers,
    });
    this.#jobs = new Counter({
      name: "vqd_jobs_total",
      help: "Job deliveries that have ended, by outcome.",
      labelNames: ["model", "outcome"],
      registers,
    });
    this.#jobSeconds = new Histogram({
      name: "vqd_job_duration_seconds",
      help: "Time from receiving a job to its last image, for deliveries that succeeded.",
      buckets: JOB_SECONDS,
      labelNames: ["model"],
      registers,
    });
    this.#queueWait = new Histogram({
      name: "vqd_queue_wait_seconds",
      help: "Time from a job's creation at the edge to its first receipt by a worker.",
      buckets: WAIT_SECONDS,
      labelNames: ["model"],
      registers,
    });
    this.#resumes = new Counter({
      name: "vqd_job_resumes_total",
      help: "Jobs that continued from another attempt's last step.",
      labelNames: ["model"],
      registers,
    });
    this.#rejected = new Counter({
      name: "vqd_messages_rejected_total",
      help: "Queue messages that this release cannot read as a job.",
      registers,
    });
    this.#reconnects = new Counter({
      name: "vqd_nats_reconnects_total",
      help: "Connections to NATS after the first.",
      registers,
    });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** All metrics as text, for Prometheus. */
  render(): Promise<string> {
    return this.#registry.metrics();
  }

  /** Adds the metrics that are known once the models are loaded; `describe` is called at each scrape. */
  describe(release: string, describe: () => Described): void {
    const registers = [this.#registry];
    const info = new Gauge({
      name: "vqd_worker_info",
      help: "1 for each model that this worker serves, described by the labels.",
      labelNames: ["release", "model", "version", "numerics_id", "provider", "quantization"],
      registers,
    });
    for (const { model, version, numericsId, provider, quantization } of describe().models) {
      info.set({ release, model, version, numerics_id: numericsId, provider, quantization }, 1);
      // The rate of events that have not happened yet is zero, not missing.
      for (const outcome of JOB_OUTCOMES) this.#jobs.inc({ model, outcome }, 0);
      this.#resumes.inc({ model }, 0);
    }
    const gauge = (name: string, help: string, value: (now: Described) => number): Gauge =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value(describe()));
        },
      });
    const modelGauge = (name: string, help: string, value: (now: WorkerStats) => number): Gauge =>
      new Gauge({
        name,
        help,
        labelNames: ["model"],
        registers,
        collect() {
          for (const stats of describe().models) this.set({ model: stats.model }, value(stats));
        },
      });
    gauge("vqd_slots", "Maximum number of images denoised at once.", ({ models }) => models[0]?.slots ?? 0);
    modelGauge("vqd_slots_busy", "Slots that currently hold an image.", ({ busySlots }) => busySlots);
    modelGauge("vqd_model_loaded", "1 while the model is in memory.", ({ loaded }) => (loaded ? 1 : 0));
    gauge("vqd_nats_connected", "1 while the connection to NATS is up.", ({ natsConnected }) =>
      natsConnected ? 1 : 0,
    );
    const states = new Gauge({
      name: "vqd_worker_status",
      help: "1 for the worker's current status, 0 for the others.",
      labelNames: ["status"],
      collect() {
        const { status, models } = describe();
        const now = models.some((stats) => stats.status === "busy") ? "busy" : status;
        for (const one of STATUSES) this.set({ status: one }, one === now ? 1 : 0);
      },
      registers: [],
    });
    this.#registry.registerMetric(states);
  }

  /** Counts a pass of a model (`owner/name`) over `slots`. */
  passMade(model: string, slots: readonly { readonly tokens: ArrayLike<number> }[], seconds: number): void {
    this.#steps.observe({ model, batch: batchLabel(slots.length) }, seconds);
    this.#tokens.inc(
      { model },
      slots.reduce((sum, slot) => sum + slot.tokens.length, 0),
    );
  }

  /** Counts a job that was received; `step` is where an earlier attempt has left it. */
  jobStarted(
    { model, createdAt }: Pick<Job, "model" | "createdAt">,
    { attempt, step }: { attempt: number; step: number },
  ): void {
    // The edge's clock may be ahead.
    if (attempt === 1) this.#queueWait.observe({ model }, Math.max(0, Date.now() - createdAt) / 1_000);
    if (step > 0) this.#resumes.inc({ model });
  }

  jobEnded(model: string, outcome: JobOutcome, seconds: number): void {
    this.#jobs.inc({ model, outcome });
    if (outcome === "succeeded") this.#jobSeconds.observe({ model }, seconds);
  }

  messageRejected(): void {
    this.#rejected.inc();
  }

  reconnected(): void {
    this.#reconnects.inc();
  }
}
