// Pulls jobs from the work queue while there are free slots, runs them, and settles each delivery.

import { setTimeout as delay } from "node:timers/promises";
import type { Consumer, ConsumerMessages, JsMsg } from "@nats-io/jetstream";
import { decodeJob } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { MESSAGE_HEADERS } from "@vqd/shared/headers.ts";
import { imageCount, type Job } from "@vqd/shared/job.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { controlSubject } from "@vqd/shared/subjects.ts";
import type { Broker } from "./broker.ts";
import { CanceledError, DrainError, type JobRunner } from "./job-runner.ts";
import { Lease, LeaseLostError } from "./lease.ts";
import type { JobOutcome, WorkerMetrics } from "./metrics.ts";
import { JobPublisher } from "./publisher.ts";
import { activeTraceId, annotate, continueTrace, traced } from "./tracing.ts";

/** How long one pull request waits at the server before it is renewed. */
const PULL_EXPIRES_MS = 10_000;
const PULL_RETRY_MS = 500;
/** A failed attempt is handed back with this delay, times the attempts so far. */
const RETRY_DELAY_MS = 1_000;
/** On draining: how long the last messages of a job may take to reach NATS. */
const DRAIN_FLUSH_MS = 1_500;

export interface JobConsumerOptions {
  readonly broker: Broker;
  readonly runner: JobRunner;
  /** Key of the served model, as in subjects. */
  readonly modelKey: string;
  readonly leaseMs: number;
  readonly maxAttempts: number;
  /** Images denoised in one pass, and jobs taken at the same time: each then has a slot of its own. */
  readonly maxSlots: number;
  readonly metrics: WorkerMetrics;
  readonly log: Logger;
}

export class JobConsumer {
  readonly #options: JobConsumerOptions;
  readonly #draining = new AbortController();
  readonly #drained: Promise<void>;
  readonly #jobs = new Map<Promise<void>, number>();
  #pull: ConsumerMessages | undefined;
  #settled = 0;
  #failed = 0;
  #busyMs = 0;

  constructor(options: JobConsumerOptions) {
    this.#options = options;
    this.#drained = new Promise((resolve) => {
      this.#draining.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  get busySlots(): number {
    const images = [...this.#jobs.values()].reduce((sum, count) => sum + count, 0);
    return Math.min(images, this.#options.maxSlots);
  }

  /** Deliveries handled so far, however they ended. */
  get settled(): number {
    return this.#settled;
  }

  /** Deliveries that an error of this worker or of the model has ended. */
  get failed(): number {
    return this.#failed;
  }

  /** Time that the settled deliveries have taken here, summed. */
  get busyMs(): number {
    return this.#busyMs;
  }

  /** Serves jobs until `drain` is called; survives the loss of the server, the stream or the consumer. */
  async run(): Promise<void> {
    const { broker, modelKey, leaseMs, maxSlots, log } = this.#options;
    // A pull request dies with the server it was sent to, without a word: renew it at once.
    const stopListening = broker.onReconnect(() => this.#pull?.stop());
    let consumer: Consumer | undefined;
    while (!this.#draining.signal.aborted) {
      if (this.#jobs.size >= maxSlots) {
        await Promise.race([...this.#jobs.keys(), this.#drained]);
        continue;
      }
      try {
        consumer ??= await broker.jobConsumer(modelKey, leaseMs);
        await this.#pullOne(consumer);
      } catch (error) {
        consumer = undefined;
        log.warn("cannot pull jobs, trying again", errorFields(error));
        await delay(PULL_RETRY_MS, undefined, { signal: this.#draining.signal }).catch(() => {});
      }
    }
    stopListening();
    await Promise.all(this.#jobs.keys());
  }

  /** Stops pulling, stops running jobs at their next step and hands them back. `run` then returns. */
  drain(): void {
    this.#draining.abort(new DrainError());
    this.#pull?.stop();
  }

  async #pullOne(consumer: Consumer): Promise<void> {
    this.#pull = await consumer.fetch({ max_messages: 1, expires: PULL_EXPIRES_MS });
    if (this.#draining.signal.aborted) this.#pull.stop();
    for await (const message of this.#pull) this.#accept(message);
    this.#pull = undefined;
  }

  #accept(message: JsMsg): void {
    const { log, metrics } = this.#options;
    let job: Job;
    try {
      job = decodeJob(message.data);
    } catch (error) {
      // Nobody can run it, and it names no prediction to report to; its hub ends it by its deadline.
      log.error("dropped a message that is no job", { sequence: message.seq, ...errorFields(error) });
      message.term();
      metrics.messageRejected();
      return;
    }
    const startedAt = performance.now();
    const attributes = {
      "messaging.system": "nats",
      "messaging.operation.name": "process",
      "vqd.prediction.id": job.id,
      "vqd.model": job.model,
      "vqd.images": imageCount(job),
      "vqd.steps": job.numInferenceSteps,
    };
    const handled = continueTrace(message.headers, "process job", attributes, () =>
      this.#handle(job, message),
    )
      .catch((error: unknown) =>
        log.error("job handling failed", { prediction: job.id, ...errorFields(error) }),
      )
      .finally(() => {
        this.#jobs.delete(handled);
        this.#settled++;
        this.#busyMs += performance.now() - startedAt;
      });
    this.#jobs.set(handled, imageCount(job));
  }

  async #handle(job: Job, message: JsMsg): Promise<void> {
    const { broker, runner, leaseMs, metrics } = this.#options;
    const receivedAt = performance.now();
    let outcome: JobOutcome = "lease_lost";
    const lease = new Lease(message, leaseMs, () => broker.connected);
    const canceled = new AbortController();
    const control = broker.nc.subscribe(controlSubject(job.id), {
      callback: (_error, request) => {
        request.respond();
        canceled.abort(new CanceledError());
      },
    });
    try {
      const resume = await traced("load state", {}, () => runner.loadState(job, lease.signal));
      // The server can lose the count of deliveries in a crash; the stored state remembers the last one.
      const attempt = Math.max(message.info.deliveryCount, (resume?.value.attempt ?? 0) + 1);
      annotate({ "vqd.attempt": attempt, "vqd.resumed_from": resume?.value.step ?? 0 });
      const log = this.#options.log.with({
        prediction: job.id,
        attempt,
        requestId: message.headers?.get(MESSAGE_HEADERS.requestId) || undefined,
        traceId: activeTraceId(),
      });
      const publisher = new JobPublisher({
        js: broker.js,
        job,
        attempt,
        numericsId: runner.numericsId,
        maxPayload: () => broker.maxPayload,
        signal: lease.signal,
      });
      const stop = AbortSignal.any([lease.signal, canceled.signal, this.#draining.signal]);
      try {
        metrics.jobStarted({ createdAt: job.createdAt, attempt, step: resume?.value.step ?? 0 });
        log.info("job started", { step: resume?.value.step ?? 0, steps: job.numInferenceSteps });
        this.#checkAttempts(attempt);
        await runner.run(job, publisher, stop, resume);
        await traced("flush events", {}, () => publisher.flush());
        const confirmed = await lease.complete();
        outcome = "succeeded";
        log.info("job done", { confirmed });
      } catch (error) {
        outcome = await this.#settleFailure(error, { attempt, lease, publisher, log });
      }
    } finally {
      annotate({ "vqd.outcome": outcome });
      metrics.jobEnded(outcome, (performance.now() - receivedAt) / 1_000);
      control.unsubscribe();
      lease.abandon();
    }
  }

  #checkAttempts(attempt: number): void {
    const { maxAttempts } = this.#options;
    if (attempt <= maxAttempts) return;
    throw new VqdError(
      "attempts_exhausted",
      `given up after ${maxAttempts} attempts, each of which ended without an answer of its worker`,
    );
  }

  async #settleFailure(
    error: unknown,
    {
      attempt,
      lease,
      publisher,
      log,
    }: { attempt: number; lease: Lease; publisher: JobPublisher; log: Logger },
  ): Promise<JobOutcome> {
    let outcome: JobOutcome = "failed";
    if (error instanceof LeaseLostError) {
      log.warn("lease lost, left the job to the next worker");
      return "lease_lost";
    }
    if (error instanceof DrainError) {
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
    } else if (attempt < this.#options.maxAttempts) {
      this.#failed++;
      log.error("attempt failed, handed back", errorFields(error));
      await publisher.flush().catch(() => {});
      lease.handBack(RETRY_DELAY_MS * attempt);
      return "retried";
    } else {
      this.#failed++;
      publisher.publish({
        type: "failed",
        error: { code: "model_error", message: "the model failed to run this job" },
      });
      log.error("job failed", errorFields(error));
    }
    await publisher.flush();
    await lease.complete();
    return outcome;
  }
}
