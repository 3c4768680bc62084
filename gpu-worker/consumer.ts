// Takes jobs from the queues while there is room, runs them, and settles each delivery.

import { setTimeout as delay } from "node:timers/promises";
import { decodeJob, isForeignJob } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { MESSAGE_HEADERS } from "@vqd/shared/headers.ts";
import { imageCount, type Job } from "@vqd/shared/job.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { controlSubject } from "@vqd/shared/subjects.ts";
import type { Broker, StoredState } from "./broker.ts";
import type { Delivery } from "./delivery.ts";
import { JobGate } from "./job-gate.ts";
import { JobQueue, type QueuedJob } from "./job-queue.ts";
import { CanceledError, DrainError, type JobRunner } from "./job-runner.ts";
import { Lease, LeaseLostError } from "./lease.ts";
import type { JobOutcome, WorkerMetrics } from "./metrics.ts";
import type { ModelHost } from "./model-host.ts";
import { JobPublisher } from "./publisher.ts";
import { StateWriter } from "./state-writer.ts";
import { activeTraceId, annotate, continueTrace, traced } from "./tracing.ts";

const PULL_RETRY_MS = 500;
/** Time for another worker to take what this one cannot read. */
const FOREIGN_JOB_DELAY_MS = 1_000;
/** A failed attempt is handed back with this delay, times the attempts so far. */
const RETRY_DELAY_MS = 1_000;
/** On draining: how long the last messages of a job may take to reach NATS. */
const DRAIN_FLUSH_MS = 1_500;
/** Times that a job is claimed from the state read last, while another attempt goes on writing. */
const MAX_CLAIMS = 5;
/** Deliveries after which a job is given up whatever is known of it, in units of `maxAttempts`. */
const DELIVERIES_FACTOR = 10;

export interface JobConsumerOptions {
  readonly broker: Broker;
  readonly runner: JobRunner;
  readonly models: ModelHost;
  readonly leaseMs: number;
  /** Attempts in a row that may end without a step. */
  readonly maxAttempts: number;
  /** Steps between two stored states. */
  readonly stateEvery: number;
  /** Images denoised in one pass, and jobs denoised at the same time: each then has a slot of its own. */
  readonly maxSlots: number;
  readonly metrics: WorkerMetrics;
  readonly log: Logger;
}

const LEFT = "lease lost, left the job to the next worker";

/** What one model's jobs have come to. */
export interface ModelCounts {
  /** Images being denoised. */
  readonly activeImages: number;
  /** Deliveries that have ended, however. */
  readonly settled: number;
  /** Of those, which an error of this worker or of the model has ended. */
  readonly failed: number;
  /** Time that the settled deliveries have taken here, summed. */
  readonly busyMs: number;
}

/** A job that this worker has. */
interface Held {
  readonly modelKey: string;
  readonly images: number;
  readonly lease: Lease;
  publisher: JobPublisher | undefined;
  isDenoising: boolean;
}

export class JobConsumer {
  readonly #options: JobConsumerOptions;
  readonly #queue: JobQueue;
  readonly #draining = new AbortController();
  readonly #gate = new JobGate();
  readonly #held = new Map<Held, Promise<void>>();
  readonly #counts = new Map<string, ModelCounts>();
  #onRoom = (): void => {};

  constructor(options: JobConsumerOptions) {
    const { broker, models, leaseMs, log } = options;
    this.#options = options;
    this.#queue = new JobQueue({
      broker,
      modelKeys: models.models.map(({ key }) => key),
      leaseMs,
      hasRoom: (arrived) => this.#hasRoom(arrived),
      isLoaded: (key) => models.isLoaded(key),
      log,
    });
  }

  /** Jobs of all models that are denoised or finished now. */
  get jobs(): number {
    return this.#held.size;
  }

  countsOf(modelKey: string): ModelCounts {
    const counts = this.#counts.get(modelKey) ?? { activeImages: 0, settled: 0, failed: 0, busyMs: 0 };
    const activeImages = [...this.#held.keys()]
      .filter((held) => held.modelKey === modelKey && held.isDenoising)
      .reduce((sum, { images }) => sum + images, 0);
    return { ...counts, activeImages };
  }

  /** Serves jobs until `drain` is called; survives the loss of the server, the stream or the consumer. */
  async run(): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#draining;
    while (!signal.aborted) {
      if (!this.#hasRoom()) {
        this.#queue.giveBack();
        await new Promise<void>((resolve) => (this.#onRoom = resolve));
        continue;
      }
      try {
        const queued = await this.#queue.next(signal);
        if (queued !== undefined) this.#accept(queued);
      } catch (error) {
        log.warn("cannot pull jobs, trying again", errorFields(error));
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

  /** Hands all jobs back as they are, without waiting for anything: the worker is about to end. */
  async abandon(): Promise<void> {
    this.drain();
    const publishers = [...this.#held.keys()].map(({ publisher }) => publisher);
    for (const publisher of publishers) publisher?.saveState();
    await Promise.race([
      Promise.all(publishers.map((publisher) => publisher?.flush().catch(() => {}))),
      delay(DRAIN_FLUSH_MS),
    ]);
    for (const { lease } of this.#held.keys()) lease.handBack();
    await Promise.race([this.#options.broker.nc.flush().catch(() => {}), delay(DRAIN_FLUSH_MS)]);
  }

  /** For one more job, besides `others` that are to come. */
  #hasRoom(others = 0): boolean {
    const { maxSlots, models } = this.#options;
    if (this.#draining.signal.aborted || this.#gate.isClosing || models.isCrowded) return false;
    const denoising = [...this.#held.keys()].filter(({ isDenoising }) => isDenoising).length;
    // What is denoised is decoded and encoded beside the next jobs, but must not pile up.
    const finishing = this.#held.size - denoising;
    return denoising + others < maxSlots && finishing <= maxSlots;
  }

  #accept({ delivery, modelKey }: QueuedJob): void {
    const { broker, leaseMs, metrics, log } = this.#options;
    if (this.#draining.signal.aborted) {
      delivery.nak();
      return;
    }
    let job: Job;
    try {
      job = decodeJob(delivery.data);
    } catch (error) {
      metrics.messageRejected();
      const fields = { sequence: delivery.sequence, ...errorFields(error) };
      if (isForeignJob(delivery.data)) {
        // During an upgrade: a worker of its release takes it, or else its hub ends it by its deadline.
        log.warn("left a job of another release to others", fields);
        delivery.nak(FOREIGN_JOB_DELAY_MS);
      } else {
        // Nobody can run it, and it names no prediction to report to.
        log.error("dropped a message that is no job", fields);
        delivery.term();
      }
      return;
    }
    const startedAt = performance.now();
    const held: Held = {
      modelKey,
      images: imageCount(job),
      lease: new Lease(delivery, leaseMs, () => broker.connected),
      publisher: undefined,
      isDenoising: true,
    };
    const attributes = {
      "messaging.system": "nats",
      "messaging.operation.name": "process",
      "vqd.prediction.id": job.id,
      "vqd.model": job.model,
      "vqd.images": held.images,
      "vqd.steps": job.numInferenceSteps,
    };
    const handled = continueTrace(delivery.headers, "process job", attributes, () =>
      this.#handle(job, held, delivery),
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

  async #handle(job: Job, held: Held, delivery: Delivery): Promise<void> {
    const { broker, runner, metrics } = this.#options;
    const receivedAt = performance.now();
    let outcome: JobOutcome = "lease_lost";
    const { lease } = held;
    const canceled = new AbortController();
    const stopListening = broker.onReconnect(() => lease.extend());
    const control = broker.nc.subscribe(controlSubject(job.id), {
      callback: (_error, request) => {
        request.respond();
        canceled.abort(new CanceledError());
      },
    });
    try {
      const signal = AbortSignal.any([lease.signal, canceled.signal, this.#draining.signal]);
      for (let claims = 1; ; claims++) {
        const stored = await traced("load state", {}, () => runner.loadState(job, lease.signal));
        const ended = await this.#attempt(job, held, { stored, delivery, signal });
        if (ended !== undefined) outcome = ended;
        // Else another attempt has written since the state was read: it had the job, or has it now.
        if (ended !== undefined || claims === MAX_CLAIMS) return;
      }
    } finally {
      annotate({ "vqd.outcome": outcome });
      metrics.jobEnded(job.model, outcome, (performance.now() - receivedAt) / 1_000);
      control.unsubscribe();
      stopListening();
      lease.abandon();
    }
  }

  /** One attempt, from the state that was read. Undefined if that was no longer the newest one: then nothing was done. */
  async #attempt(
    job: Job,
    held: Held,
    {
      stored,
      delivery,
      signal,
    }: { stored: StoredState | undefined; delivery: Delivery; signal: AbortSignal },
  ): Promise<JobOutcome | undefined> {
    const { broker, runner, models, stateEvery, maxAttempts, metrics } = this.#options;
    const { count: deliveries, headers } = delivery;
    const { lease, modelKey } = held;
    const startsBefore = stored?.value.starts ?? 0;
    // The server can lose the count of deliveries in a crash; the stored state remembers the last one.
    const attempt = Math.max(deliveries, (stored?.value.attempt ?? 0) + 1);
    const log = this.#options.log.with({
      prediction: job.id,
      attempt,
      requestId: headers?.get(MESSAGE_HEADERS.requestId) || undefined,
      traceId: activeTraceId(),
    });
    const publisher = new JobPublisher({
      js: broker.js,
      job,
      attempt,
      numericsId: models.get(modelKey).info.numericsId,
      startsBefore,
      stateEvery,
      states: new StateWriter({
        js: broker.js,
        predictionId: job.id,
        read: () => broker.lastState(job.id),
        sequence: stored?.sequence ?? 0,
        signal: lease.signal,
      }),
      onReplaced: () => lease.lose(),
      maxPayload: () => broker.maxPayload,
      signal: lease.signal,
    });
    try {
      // One that has ended an attempt without a step may be what ended the worker: it gets one for itself.
      const leave = await this.#gate.enter(startsBefore > 0, signal);
      try {
        const resume = runner.usableState(job, modelKey, stored);
        if (!(await publisher.claim(resume, imageCount(job)))) {
          lease.signal.throwIfAborted();
          return undefined;
        }
        held.publisher = publisher;
        annotate({ "vqd.attempt": attempt, "vqd.resumed_from": resume?.step ?? 0 });
        metrics.jobStarted(job, { attempt, step: resume?.step ?? 0 });
        log.info("job started", { step: resume?.step ?? 0, steps: job.numInferenceSteps });
        checkAttempts(startsBefore, deliveries, maxAttempts);
        const onDenoised = (): void => {
          held.isDenoising = false;
          this.#onRoom();
        };
        await runner.run({ job, modelKey, publisher, signal, resume, onDenoised });
      } finally {
        leave();
      }
      await traced("flush events", {}, () => publisher.finish());
      const confirmed = await lease.complete();
      log.info("job done", { confirmed });
      return "succeeded";
    } catch (error) {
      return this.#settleFailure(error, held, publisher, { startsBefore, log }).catch((failure: unknown) => {
        if (!(failure instanceof LeaseLostError)) throw failure;
        log.warn(LEFT);
        return "lease_lost" as const;
      });
    }
  }

  async #settleFailure(
    error: unknown,
    { lease, modelKey }: Held,
    publisher: JobPublisher,
    { startsBefore, log }: { startsBefore: number; log: Logger },
  ): Promise<JobOutcome> {
    let outcome: JobOutcome = "failed";
    if (error instanceof LeaseLostError) {
      log.warn(LEFT);
      return "lease_lost";
    }
    if (error instanceof DrainError) {
      publisher.withdraw();
      await Promise.race([publisher.flush().catch(() => {}), delay(DRAIN_FLUSH_MS)]);
      lease.handBack();
      log.info("job handed back");
      return "handed_back";
    }
    if (error instanceof CanceledError) {
      outcome = "canceled";
      publisher.publish({ type: "canceled" });
      log.info("job canceled");
    } else if (error instanceof VqdError && !error.retryable) {
      publisher.publish({ type: "failed", error: { code: error.code, message: error.message } });
      log.warn("job failed", errorFields(error));
    } else if (startsBefore + 1 < this.#options.maxAttempts) {
      this.#count(modelKey, ({ failed }) => ({ failed: failed + 1 }));
      log.error("attempt failed, handed back", errorFields(error));
      publisher.saveState();
      await publisher.flush().catch(() => {});
      lease.handBack(RETRY_DELAY_MS * (startsBefore + 1));
      return "retried";
    } else {
      this.#count(modelKey, ({ failed }) => ({ failed: failed + 1 }));
      publisher.publish({
        type: "failed",
        error: { code: "model_error", message: "the model failed to run this job" },
      });
      log.error("job failed", errorFields(error));
    }
    await publisher.finish();
    await lease.complete();
    return outcome;
  }

  #count(modelKey: string, change: (counts: ModelCounts) => Partial<ModelCounts>): void {
    const counts = this.countsOf(modelKey);
    this.#counts.set(modelKey, { ...counts, ...change(counts) });
  }
}

/** Throws a VqdError (attempts_exhausted) for a job that has had its share. */
function checkAttempts(startsBefore: number, deliveries: number, maxAttempts: number): void {
  if (startsBefore >= maxAttempts) {
    throw new VqdError(
      "attempts_exhausted",
      `given up after ${maxAttempts} attempts in a row that ended without an answer of their worker`,
    );
  }
  if (deliveries > maxAttempts * DELIVERIES_FACTOR) {
    throw new VqdError("attempts_exhausted", `given up after ${deliveries - 1} attempts`);
  }
}
