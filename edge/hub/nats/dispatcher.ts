// From a stored prediction to a job in the queue: once, whatever is asked twice or goes wrong on the way.

import type { Job } from "@vqd/shared/job.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { SpanKind } from "@opentelemetry/api";
import type { Tracing } from "../../telemetry/tracing.ts";
import type { HubConnection } from "./connection.ts";
import { endPrediction } from "../ingest.ts";
import type { HubMetrics } from "../metrics.ts";
import { dispatchJob, type JobOrigin, PublishError } from "./queue.ts";
import type { PredictionStore } from "../storage/store.ts";

/** How long the sequence of a job may wait for others to be stored with. */
const SEQUENCES_MS = 100;

export interface DispatcherOptions {
  readonly store: PredictionStore;
  readonly connection: Pick<HubConnection, "open">;
  readonly tracing: Tracing;
  readonly metrics: HubMetrics;
  readonly log: Logger;
  /** Told of a prediction that ended because the queue has not taken its job, or did not say so. */
  readonly onDropped: (id: string) => void;
}

export class Dispatcher {
  readonly #options: DispatcherOptions;
  /** Predictions that the queue has not confirmed yet. */
  readonly #publishing = new Map<string, Promise<void>>();
  /** Sequences of jobs that are not stored yet. */
  readonly #sequences = new Map<string, number>();

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** Puts the job of a stored prediction in its queue. Throws a VqdError; the prediction is then gone, or has ended. */
  async dispatch(
    job: Job,
    origin: Pick<JobOrigin, "requestId" | "priority">,
    parent: string | undefined,
  ): Promise<void> {
    const { metrics, log } = this.#options;
    const offeredAt = Date.now();
    const publishing = this.#publish(job, origin, parent);
    this.#publishing.set(job.id, publishing);
    await publishing.finally(() => this.#publishing.delete(job.id));
    metrics.count("vqd_hub_predictions_created_total");
    metrics.observe("vqd_hub_dispatch_duration_seconds", (Date.now() - offeredAt) / 1_000);
    log.info("dispatched", { prediction: job.id, requestId: origin.requestId });
  }

  /** Waits for the queue's answer about the prediction, if it is still to come; throws what `dispatch` threw. */
  async dispatched(id: string): Promise<void> {
    await this.#publishing.get(id);
  }

  /** Stores where jobs lie in the queue, for those that ended before that was done by itself. */
  storeSequences(): void {
    const { store } = this.#options;
    if (this.#sequences.size === 0) return;
    store.atomically(() => {
      for (const [id, sequence] of this.#sequences) store.update(id, { job_seq: sequence });
    });
    this.#sequences.clear();
  }

  async #publish(
    job: Job,
    origin: Pick<JobOrigin, "requestId" | "priority">,
    parent: string | undefined,
  ): Promise<void> {
    const { tracing, connection } = this.#options;
    const attributes = { "messaging.system": "nats", "vqd.prediction.id": job.id, "vqd.model": job.model };
    try {
      const sequence = await tracing.traced(
        "publish job",
        { kind: SpanKind.PRODUCER, parent, attributes },
        (traceparent) => dispatchJob(() => connection.open(), job, { ...origin, traceparent }),
      );
      this.#noteSequence(job.id, sequence);
    } catch (error) {
      this.#drop(job.id, error);
      throw error;
    }
  }

  /**
   * Where the job lies in the queue, stored soon and with others: its caller need not wait for the disk once more. A
   * hub that dies before can no longer delete the job, but stops its worker as soon as it begins.
   */
  #noteSequence(id: string, sequence: number): void {
    if (this.#sequences.size === 0) setTimeout(() => this.storeSequences(), SEQUENCES_MS);
    this.#sequences.set(id, sequence);
  }

  /** The job was not taken, or nobody knows: then it stays as failed, so that its worker is stopped. */
  #drop(id: string, error: unknown): void {
    const { store, log, onDropped } = this.#options;
    const isAmbiguous = error instanceof PublishError ? error.isAmbiguous : true;
    store.atomically(() => {
      if (!isAmbiguous) return store.remove(id);
      const reason = {
        code: "queue_unavailable",
        message: "the job queue did not confirm the prediction",
      } as const;
      endPrediction(store, id, { status: "failed", at: Date.now(), error: reason, release: true });
    });
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : undefined;
    log.warn("not dispatched", { prediction: id, isAmbiguous, cause, ...errorFields(error) });
    onDropped(id);
  }
}
