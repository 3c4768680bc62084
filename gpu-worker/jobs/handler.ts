// One delivery of a job: attempts that start from the latest state, and what is done about each outcome.

import { setTimeout as delay } from "node:timers/promises";
import { parseControl } from "@vqd/shared/control.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { BEGINNING, MESSAGE_HEADERS, YIELDS } from "@vqd/shared/headers.ts";
import { imageCount, type Job } from "@vqd/shared/job.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { Broker } from "../nats/broker.ts";
import type { Delivery } from "../nats/delivery.ts";
import type { JobSubjects } from "../nats/job-subjects.ts";
import type { JobGate } from "./gate.ts";
import { DeviceFailedError } from "../serving/device-check.ts";
import { type Beginning, CanceledError, DrainError, type JobRunner, YieldError } from "./runner.ts";
import { type Lease, LeaseLostError } from "./lease.ts";
import type { JobOutcome, WorkerMetrics } from "../telemetry/metrics.ts";
import type { ModelHost } from "../serving/model-host.ts";
import { BatchPublisher } from "./batch-publisher.ts";
import { Fence } from "./fence.ts";
import { JobPublisher } from "./publisher.ts";
import type { JobReporter, ReporterOptions } from "./reporter.ts";
import { StateWriter } from "./state-writer.ts";
import { activeTraceId, activeTraceparent, annotate, traced, traceHeaders } from "../telemetry/tracing.ts";

/** A failed attempt is handed back with this delay, multiplied by the number of attempts so far. */
const RETRY_DELAY_MS = 1_000;
/** While draining: how long the last messages of a job may take to reach NATS. */
export const DRAIN_FLUSH_MS = 1_500;
/** How often a job is claimed again from its latest state while another attempt keeps writing. */
const MAX_CLAIMS = 5;
/** Attempts after which a job is given up even if each of them completed steps, in units of `maxAttempts`. */
const CLAIMS_FACTOR = 10;
/** A timer set for longer than these 25 days would fire immediately. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const LEASE_LOST = "lease lost; another worker will pick up the job";

/** A job that this worker holds. */
export interface HeldJob {
  readonly job: Job;
  /** What the job's images start from; empty if it has no source. */
  readonly source: Uint8Array<ArrayBuffer>;
  readonly modelKey: string;
  readonly delivery: Delivery;
  readonly subjects: JobSubjects;
  readonly lease: Lease;
  /** Set once the job is claimed. */
  publisher: JobReporter | undefined;
  /** False when it needs no more passes. */
  isDenoising: boolean;
}

export interface JobHandlerOptions {
  readonly broker: Broker;
  readonly runner: JobRunner;
  readonly models: ModelHost;
  /** Consecutive attempts that may end without completing a step. */
  readonly maxAttempts: number;
  /** Shortest time between two batches of a job. */
  readonly publishIntervalMs: number;
  /** Number of steps between stored states, where there are no batches. */
  readonly stateEvery: number;
  readonly metrics: WorkerMetrics;
  readonly log: Logger;
}

/** What the handler needs from the worker around it, and reports to it. */
export interface JobContext {
  readonly gate: JobGate;
  /** Aborted with a DrainError when the worker is told to stop. */
  readonly draining: AbortSignal;
  readonly onDenoised: () => void;
  /** Called when an error of this worker or of the model has ended an attempt. */
  readonly onFailed: () => void;
}

interface FailedAttempt extends Pick<JobContext, "onFailed"> {
  readonly error: unknown;
  /** Of `performance`. */
  readonly startedAt: number;
  readonly lease: Lease;
  readonly publisher: JobReporter;
  readonly startsBefore: number;
  readonly log: Logger;
}

export class JobHandler {
  readonly #options: JobHandlerOptions;

  constructor(options: JobHandlerOptions) {
    this.#options = options;
  }

  /** Runs the job and settles its delivery. Rejects only on unforeseen errors. */
  async handle(held: HeldJob, context: JobContext): Promise<void> {
    const { broker, runner, metrics, log } = this.#options;
    const receivedAt = performance.now();
    let outcome: JobOutcome = "lease_lost";
    const { job, lease, subjects } = held;
    const ended = new AbortController();
    const msToDeadline = job.deadlineAt - Date.now();
    const onDeadline = (): void => ended.abort(deadlineError());
    if (msToDeadline <= 0) onDeadline();
    const deadline = setTimeout(onDeadline, Math.min(msToDeadline, MAX_TIMER_MS));
    const stopListening = broker.onReconnect(() => lease.extend());
    const onControl = (error: Error | null, message: { string(): string }): void => {
      // The server refuses the subscription for lack of permission: then there is no request.
      if (error !== null) {
        log.warn("cannot subscribe to cancellations", { prediction: job.id, ...errorFields(error) });
        return;
      }
      const control = parseControl(message.string());
      if (control?.type === "cancel") ended.abort(new CanceledError());
      // A job that needs no more passes is in nobody's way.
      const isHeard = control?.type === "yield" && held.isDenoising && mayYield(held);
      if (isHeard && control.attempt === held.publisher?.attempt) ended.abort(new YieldError());
    };
    const controls = subjects.controls.map((subject) =>
      broker.nc.subscribe(subject, { callback: onControl }),
    );
    try {
      const signal = AbortSignal.any([lease.signal, ended.signal, context.draining]);
      for (let claims = 1; ; claims++) {
        const beginning = await traced("load state", {}, () => runner.loadState(job, subjects, signal));
        const end = await this.#attempt(held, context, { beginning, signal });
        if (end !== undefined) outcome = end;
        // Otherwise another attempt has written since the state was read: it held the job, or holds it now.
        if (end !== undefined || claims === MAX_CLAIMS) return;
      }
    } finally {
      annotate({ "vqd.outcome": outcome });
      metrics.jobEnded(job.model, outcome, (performance.now() - receivedAt) / 1_000);
      clearTimeout(deadline);
      for (const control of controls) control.unsubscribe();
      stopListening();
      lease.abandon();
    }
  }

  /** One attempt, from the stored state. Undefined if that was no longer the latest: then nothing has been done. */
  async #attempt(
    held: HeldJob,
    context: JobContext,
    { beginning, signal }: { beginning: Beginning; signal: AbortSignal },
  ): Promise<JobOutcome | undefined> {
    const { runner, models, maxAttempts, metrics } = this.#options;
    const { job, source, lease, modelKey } = held;
    const { stored } = beginning;
    const { count: deliveries, headers } = held.delivery;
    const startsBefore = stored?.value?.starts ?? 0;
    // Counting deliveries would not do: they include deliveries to workers that could not run the job.
    const claimsBefore = stored?.value?.claims ?? 0;
    // The server can lose its delivery count in a crash; the stored state remembers the last attempt.
    const attempt = Math.max(deliveries, (stored?.value?.attempt ?? 0) + 1);
    const log = this.#options.log.with({
      prediction: job.id,
      attempt,
      requestId: headers?.get(MESSAGE_HEADERS.requestId) || undefined,
      traceId: activeTraceId(),
    });
    const publisher = this.#reporter(held, beginning, {
      attempt,
      numericsId: models.get(modelKey).info.numericsId,
      startsBefore,
      claimsBefore,
      onReplaced: () => lease.lose(),
      maxPayload: () => this.#options.broker.maxPayload,
      signal: lease.signal,
    });
    let startedAt = performance.now();
    try {
      // A job whose last attempt ended without completing a step may be what killed the worker: it runs alone.
      const leave = await context.gate.enter(startsBefore > 0, signal);
      try {
        const resume = runner.usableState(job, modelKey, stored);
        const exhausted = exhaustionOf(startsBefore, claimsBefore, maxAttempts);
        const started =
          exhausted === undefined ? runner.startedOf(job, modelKey, resume, mayYield(held)) : undefined;
        if (!(await publisher.claim({ resume, images: imageCount(job), started }, signal))) {
          signal.throwIfAborted();
          return undefined;
        }
        held.publisher = publisher;
        startedAt = performance.now();
        annotate({ "vqd.attempt": attempt, "vqd.resumed_from": resume?.step ?? 0 });
        metrics.jobStarted(job, { attempt, step: resume?.step ?? 0 });
        log.info("job started", { step: resume?.step ?? 0, steps: job.numInferenceSteps });
        if (exhausted !== undefined) throw exhausted;
        const onDenoised = (): void => {
          held.isDenoising = false;
          context.onDenoised();
        };
        await runner.run({
          job,
          source,
          modelKey,
          publisher,
          signal,
          resume,
          saysBeginning: headers?.get(MESSAGE_HEADERS.receipts) === BEGINNING,
          owner: headers?.get(MESSAGE_HEADERS.owner) || undefined,
          onDenoised,
        });
        // Before leaving the gate: a job that may kill the worker must not find events that are still unsent.
        await traced("flush events", {}, () => publisher.finish());
        const confirmed = await lease.complete();
        log.info("job done", { confirmed });
        return "succeeded";
      } finally {
        leave();
      }
    } catch (error) {
      const { onFailed } = context;
      const failed = { error, startedAt, lease, publisher, startsBefore, onFailed, log };
      return this.#settleFailure(failed).catch((failure: unknown) => {
        if (!(failure instanceof LeaseLostError)) throw failure;
        log.warn(LEASE_LOST);
        return "lease_lost" as const;
      });
    }
  }

  /** Reports in the way in which the job was begun. */
  #reporter(
    { job, subjects, lease }: HeldJob,
    { stored, fencedBy }: Beginning,
    options: ReporterOptions,
  ): JobReporter {
    const { broker, publishIntervalMs: intervalMs, stateEvery } = this.#options;
    const { js } = broker;
    const fence = { js, sequence: stored?.sequence ?? 0, signal: lease.signal };
    if (fencedBy === "events") {
      const traceparent = activeTraceparent();
      return new BatchPublisher({
        ...options,
        fence: new Fence({
          ...fence,
          subject: subjects.event,
          read: () => broker.lastBatch(subjects.event),
          headers: traceparent === undefined ? undefined : traceHeaders(traceparent),
        }),
        intervalMs,
      });
    }
    return new JobPublisher({
      ...options,
      js,
      subject: subjects.event,
      predictionId: job.id,
      stateEvery,
      states: new StateWriter({
        ...fence,
        // Where the last attempt has written: a fence must not be in two places.
        subject: stored?.subject ?? subjects.states[0],
        read: () => broker.lastState(subjects.states),
      }),
    });
  }

  async #settleFailure({
    error,
    startedAt,
    lease,
    publisher,
    startsBefore,
    onFailed,
    log,
  }: FailedAttempt): Promise<JobOutcome> {
    let outcome: JobOutcome = "failed";
    if (error instanceof LeaseLostError) {
      log.warn(LEASE_LOST);
      return "lease_lost";
    }
    if (error instanceof DrainError || error instanceof DeviceFailedError) {
      publisher.withdraw();
      await Promise.race([publisher.flush().catch(() => {}), delay(DRAIN_FLUSH_MS)]);
      lease.handBack();
      log.info("job handed back");
      return "handed_back";
    }
    if (error instanceof YieldError) {
      await publisher.yield((performance.now() - startedAt) / 1_000);
      const confirmed = await lease.complete();
      log.info("job yielded", { confirmed });
      return "yielded";
    }
    if (error instanceof CanceledError) {
      outcome = "canceled";
      publisher.publish({ type: "canceled" });
      log.info("job canceled");
    } else if (error instanceof VqdError && !error.retryable) {
      publisher.publish({ type: "failed", error: { code: error.code, message: error.message } });
      log.warn("job failed", errorFields(error));
    } else if (startsBefore + 1 < this.#options.maxAttempts) {
      onFailed();
      log.error("attempt failed, handed back", errorFields(error));
      publisher.saveState();
      await publisher.flush().catch(() => {});
      lease.handBack(RETRY_DELAY_MS * (startsBefore + 1));
      return "retried";
    } else {
      onFailed();
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
}

/** Whether the job's hub understands that it is handed back. */
const mayYield = ({ delivery }: HeldJob): boolean =>
  delivery.headers?.get(MESSAGE_HEADERS.control) === YIELDS;

const deadlineError = (): VqdError =>
  new VqdError("deadline_exceeded", "the prediction did not finish before its deadline");

/** Why a job that has used up its attempts is given up. */
function exhaustionOf(startsBefore: number, claimsBefore: number, maxAttempts: number): VqdError | undefined {
  if (startsBefore >= maxAttempts) {
    return new VqdError(
      "attempts_exhausted",
      `given up after ${maxAttempts} ${maxAttempts === 1 ? "attempt" : "consecutive attempts"} that completed no step`,
    );
  }
  if (claimsBefore < maxAttempts * CLAIMS_FACTOR) return undefined;
  return new VqdError("attempts_exhausted", `given up after ${claimsBefore} attempts`);
}
