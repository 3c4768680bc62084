// Takes jobs from the queues while there is room, and passes them to the handler.

import { setTimeout as delay } from "node:timers/promises";
import { decodeJob, type Framed, isForeignJob } from "@vqd/shared/codec.ts";
import { imageCount, type Job } from "@vqd/shared/job.ts";
import { errorFields } from "@vqd/shared/log.ts";
import { modelKey as modelKeyOf } from "@vqd/shared/model.ts";
import { JobGate } from "./gate.ts";
import { JobQueue, type QueuedJob } from "../nats/job-queue.ts";
import { DRAIN_FLUSH_MS, type HeldJob, JobHandler, type JobHandlerOptions } from "./handler.ts";
import { DrainError } from "./runner.ts";
import { Lease } from "./lease.ts";
import { continueTrace } from "../telemetry/tracing.ts";

const PULL_RETRY_MS = 500;
/** Gives another worker time to take a job that this one cannot read; more with each delivery. */
const FOREIGN_JOB_DELAY_MS = 1_000;
const FOREIGN_JOB_MAX_DELAY_MS = 30_000;

export interface JobConsumerOptions extends JobHandlerOptions {
  /** Maximum number of jobs denoised concurrently: each has at least one slot. */
  readonly maxSlots: number;
}

/** Counts over one model's jobs. */
export interface ModelCounts {
  /** Images being denoised. */
  readonly activeImages: number;
  /** Deliveries that have ended, with whatever outcome. */
  readonly settled: number;
  /** Those that an error of this worker or of the model has ended. */
  readonly failed: number;
  /** Total time that the settled deliveries took here. */
  readonly busyMs: number;
}

export class JobConsumer {
  readonly #options: JobConsumerOptions;
  readonly #queue: JobQueue;
  readonly #handler: JobHandler;
  readonly #gate = new JobGate();
  readonly #draining = new AbortController();
  readonly #held = new Map<HeldJob, Promise<void>>();
  readonly #counts = new Map<string, ModelCounts>();
  #onRoom = (): void => {};

  constructor(options: JobConsumerOptions) {
    const { broker, models, log } = options;
    this.#options = options;
    this.#handler = new JobHandler(options);
    this.#queue = new JobQueue({
      broker,
      modelKeys: models.models.map(({ key }) => key),
      hasRoom: (arrived) => this.#hasRoom(arrived),
      isLoaded: (key) => models.isLoaded(key),
      log,
    });
  }

  /** Jobs of all models that are being denoised, decoded or encoded. */
  get jobs(): number {
    return this.#held.size;
  }

  countsOf(modelKey: string): ModelCounts {
    const counts = this.#counts.get(modelKey) ?? { activeImages: 0, settled: 0, failed: 0, busyMs: 0 };
    const activeImages = [...this.#held.keys()]
      .filter((held) => held.modelKey === modelKey && held.isDenoising)
      .reduce((sum, { job }) => sum + imageCount(job), 0);
    return { ...counts, activeImages };
  }

  /** Serves jobs until `drain` is called; survives losing the server, the stream or the consumer. */
  async run(): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#draining;
    while (!signal.aborted) {
      if (!this.#hasRoom()) {
        this.#queue.handBack();
        await new Promise<void>((resolve) => (this.#onRoom = resolve));
        continue;
      }
      try {
        const queued = await this.#queue.next(signal);
        if (queued !== undefined) this.#accept(queued);
      } catch (error) {
        log.warn("cannot pull jobs; retrying", errorFields(error));
        await delay(PULL_RETRY_MS, undefined, { signal }).catch(() => {});
      }
    }
    this.#queue.close();
    await Promise.all(this.#held.values());
  }

  /** Stops pulling, stops running jobs at their next step and hands them back. `run` then returns. */
  drain(): void {
    this.#draining.abort(new DrainError());
    this.#onRoom();
  }

  /**
   * Hands all jobs back as they are, waiting for nothing: the process is about to exit. If one of them may be to blame
   * for that, the attempts count.
   */
  async abandon({ isToBlame }: { isToBlame: boolean }): Promise<void> {
    this.drain();
    const publishers = [...this.#held.keys()].map(({ publisher }) => publisher);
    for (const publisher of publishers) {
      if (isToBlame) publisher?.saveState();
      else publisher?.withdraw();
    }
    await Promise.race([
      Promise.allSettled(publishers.map(async (publisher) => publisher?.flush())),
      delay(DRAIN_FLUSH_MS),
    ]);
    for (const { lease } of this.#held.keys()) lease.handBack();
    await Promise.race([this.#options.broker.nc.flush().catch(() => {}), delay(DRAIN_FLUSH_MS)]);
  }

  /** Whether one more job fits, besides `others` that are on their way. */
  #hasRoom(others = 0): boolean {
    const { maxSlots, models } = this.#options;
    if (this.#draining.signal.aborted || this.#gate.isClosing || models.isCrowded) return false;
    const denoising = [...this.#held.keys()].filter(({ isDenoising }) => isDenoising).length;
    // Denoised jobs are decoded and encoded alongside the next ones, but must not pile up.
    const finishing = this.#held.size - denoising;
    return denoising + others < maxSlots && finishing <= maxSlots;
  }

  #accept({ delivery, modelKey, leaseMs }: QueuedJob): void {
    const { broker, metrics, log } = this.#options;
    if (this.#draining.signal.aborted) {
      delivery.nak();
      return;
    }
    let framed: Framed<Job>;
    try {
      framed = decodeJob(delivery.data);
    } catch (error) {
      metrics.messageRejected();
      const fields = { sequence: delivery.sequence, ...errorFields(error) };
      if (isForeignJob(delivery.data)) {
        // During an upgrade: a worker of its release takes it, or its hub ends it at its deadline.
        log.warn("handed back a job of another release", fields);
        delivery.nak(Math.min(delivery.count * FOREIGN_JOB_DELAY_MS, FOREIGN_JOB_MAX_DELAY_MS));
      } else {
        // No worker can run it, and it names no prediction to report to.
        log.error("dropped a message that is not a job", fields);
        delivery.term();
      }
      return;
    }
    const { value: job, attachment: source } = framed;
    if (modelKeyOf({ name: job.model, version: job.version }) !== modelKey) {
      metrics.messageRejected();
      log.error("dropped a job that is for another model than its queue", { prediction: job.id, modelKey });
      delivery.term();
      return;
    }
    const startedAt = performance.now();
    const held: HeldJob = {
      job,
      source,
      modelKey,
      delivery,
      subjects: broker.subjectsOf(job, modelKey, delivery.headers),
      lease: new Lease(delivery, leaseMs, () => broker.connected),
      publisher: undefined,
      isDenoising: true,
    };
    const attributes = {
      "messaging.system": "nats",
      "messaging.operation.name": "process",
      "vqd.prediction.id": job.id,
      "vqd.model": job.model,
      "vqd.images": imageCount(job),
      "vqd.steps": job.numInferenceSteps,
    };
    const handled = continueTrace(delivery.headers, "process job", attributes, () =>
      this.#handler.handle(held, {
        gate: this.#gate,
        draining: this.#draining.signal,
        onDenoised: () => this.#onRoom(),
        onFailed: () => this.#count(modelKey, ({ failed }) => ({ failed: failed + 1 })),
      }),
    )
      .catch((error: unknown) =>
        log.error("job handling failed", { prediction: job.id, ...errorFields(error) }),
      )
      .finally(() => {
        this.#held.delete(held);
        const busyMs = performance.now() - startedAt;
        this.#count(modelKey, ({ settled, busyMs: sum }) => ({ settled: settled + 1, busyMs: sum + busyMs }));
        this.#onRoom();
      });
    this.#held.set(held, handled);
  }

  #count(modelKey: string, change: (counts: ModelCounts) => Partial<ModelCounts>): void {
    const counts = this.countsOf(modelKey);
    this.#counts.set(modelKey, { ...counts, ...change(counts) });
  }
}
