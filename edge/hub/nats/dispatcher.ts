// Dispatches stored predictions to the job queue, exactly once despite retries and failures: at once, or when it is their turn.

import type { Framed } from "@vqd/shared/codec.ts";
import type { Job } from "@vqd/shared/job.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { SpanKind } from "@opentelemetry/api";
import type { Tracing } from "../../telemetry/tracing.ts";
import type { HubConnection } from "./connection.ts";
import { endPrediction } from "../events/ingest.ts";
import type { Inputs } from "../inputs.ts";
import type { HubMetrics } from "../metrics.ts";
import { PRIORITIES } from "@vqd/shared/subjects.ts";
import { mayDispatch } from "../admission/dispatch-window.ts";
import type { HeldJob } from "../storage/queue/job-store.ts";
import type { ServiceClass } from "../storage/queue/queue-store.ts";
import { OwnerTags } from "./owner-tags.ts";
import { deleteJob, dispatchJob, type JobOrigin, PublishError } from "./queue.ts";
import type { PredictionStore } from "../storage/store.ts";
import { soon } from "../../util/soon.ts";

/** How long a job's sequence may wait to be stored together with others. */
const SEQUENCES_MS = 100;
/** When to offer a held job again that the queue did not take. */
const HELD_RETRY_MS = 2_000;

export interface DispatcherOptions {
  readonly store: PredictionStore;
  readonly connection: Pick<HubConnection, "open">;
  readonly inputs: Pick<Inputs, "framed">;
  readonly tracing: Tracing;
  readonly metrics: HubMetrics;
  readonly log: Logger;
  /** See mayDispatch. */
  readonly ahead: number;
  /** Whether the service signs receipts. */
  readonly hasReceipts: boolean;
  /** Keeps work running after the call that started it. */
  readonly inBackground: (work: Promise<void>) => void;
  /** Whether a slot is being freed for a job that is in the queue: others of the version must not overtake it. */
  readonly isReserved: (version: string) => boolean;
  /** Called when something may be waiting in vain. */
  readonly onWaiting: () => void;
  /** Called for a job that was dispatched while its prediction ended. */
  readonly onReleasable: () => void;
  /** Called for a prediction that ended because the queue refused its job, or did not confirm it. */
  readonly onDropped: (id: string) => void;
}

/** What a new job's message says of its request, and whose it is. */
export interface NewOrigin extends Pick<JobOrigin, "requestId" | "priority"> {
  readonly keyName: string;
}

export class Dispatcher {
  readonly #options: DispatcherOptions;
  /** Predictions that the queue has yet to confirm. */
  readonly #publishing = new Map<string, Promise<void>>();
  readonly #retrySoon = soon(HELD_RETRY_MS, () => this.dispatchHeld());
  #hasRecovered = false;
  /** Sequences of jobs that have yet to be stored. */
  readonly #sequences = new Map<string, number>();
  readonly #ownerTags = new OwnerTags();

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** Publishes the job of a stored prediction. Throws a VqdError, after which the prediction is gone or has failed. */
  async dispatch(job: Framed<Job>, origin: NewOrigin, parent: string | undefined): Promise<void> {
    const { id } = job.value;
    const offeredAt = Date.now();
    const publishing = this.#publishNew(job, origin, parent);
    this.#publishing.set(id, publishing);
    await publishing.finally(() => this.#publishing.delete(id));
    this.#noteDispatched(id, origin.requestId, offeredAt);
    this.#options.onWaiting();
  }

  /** Whether a new job may be dispatched before those that are held. */
  mayDispatch(of: ServiceClass): boolean {
    const { store, ahead, isReserved } = this.#options;
    return !isReserved(of.version) && mayDispatch(store.queue, of, ahead);
  }

  /**
   * Starts dispatching held jobs, in their turn, as far as the workers' queue has room. Returns immediately. Call whenever
   * there may be more room: when a prediction has started or ended, and when the connection has been opened.
   */
  dispatchHeld(): void {
    const { store, inBackground, onWaiting } = this.#options;
    const { queue } = store;
    if (!this.#hasRecovered) {
      this.#hasRecovered = true;
      const isUnderWay = (id: string): boolean => this.#publishing.has(id) || this.#sequences.has(id);
      for (const job of queue.unconfirmed()) if (!isUnderWay(job.id)) inBackground(this.dispatchOne(job));
    }
    for (const of of queue.heldClasses()) {
      while (this.mayDispatch(of)) {
        const held = queue.nextHeld(of);
        if (held === undefined) break;
        // From now on it counts as waiting in the queue.
        queue.dispatching(held.id);
        inBackground(this.dispatchOne(held));
      }
    }
    onWaiting();
  }

  /**
   * Publishes a job that is marked as being dispatched. Never rejects: one that the queue does not take is held again, until its
   * prediction's deadline.
   */
  async dispatchOne(held: HeldJob): Promise<void> {
    const { store, connection, inputs, log, onReleasable, onDropped } = this.#options;
    const { id, requestId, round, keyName } = held;
    const offeredAt = Date.now();
    const origin = { requestId, round, keyName, priority: PRIORITIES[held.rank] ?? "normal" } as const;
    try {
      const framed = await inputs.framed(held);
      if (framed === undefined) {
        onDropped(id);
        return;
      }
      // The message of its last round is gone, unless that worker died just before it had acknowledged it.
      if (held.sequence !== null) await deleteJob(await connection.open(), held.sequence);
      const { value, attachment } = framed;
      // What it has waited for others does not count.
      const deadlineAt = round === 0 ? value.deadlineAt : Date.now() + held.timeoutMs;
      const job = { value: { ...value, deadlineAt }, attachment };
      const sequence = await this.#publish(job, origin, held.traceparent);
      this.#noteDispatched(id, requestId, offeredAt);
      if (this.#noteJob(id, sequence)) onReleasable();
    } catch (error) {
      // Offered again with the same id, which the queue recognizes if it has the job after all.
      store.queue.notDispatched(id);
      log.warn("cannot dispatch a held prediction yet", { prediction: id, ...errorFields(error) });
      this.#retrySoon();
    }
  }

  /** Stores a job's sequence. Whether it ended before, when there was nothing to remove from the queue yet, so that it has to be now. */
  #noteJob(id: string, sequence: number): boolean {
    const { store } = this.#options;
    const row = store.get(id);
    const isInVain = row !== undefined && row.completedAt !== null && row.status !== "succeeded";
    store.update(id, { job_seq: sequence, ...(isInVain ? { release: 1 } : {}) });
    return isInVain;
  }

  #noteDispatched(id: string, requestId: string, offeredAt: number): void {
    const { metrics, log } = this.#options;
    metrics.count("vqd_hub_predictions_created_total");
    metrics.observe("vqd_hub_dispatch_duration_seconds", (Date.now() - offeredAt) / 1_000);
    log.info("dispatched", { prediction: id, requestId });
  }

  /** Waits for a dispatch in progress, if there is one; throws what `dispatch` throws. */
  async dispatched(id: string): Promise<void> {
    await this.#publishing.get(id);
  }

  /** Stores pending sequences now, so that jobs that have just ended can be removed from the queue. */
  storeSequences(): void {
    const { store } = this.#options;
    if (this.#sequences.size === 0) return;
    const ended = store.atomically(() =>
      [...this.#sequences].filter(([id, sequence]) => this.#noteJob(id, sequence)),
    );
    this.#sequences.clear();
    if (ended.length > 0) this.#options.onReleasable();
  }

  /** Publishes a job; gives its sequence in the queue. Throws a PublishError. */
  #publish(
    job: Framed<Job>,
    { keyName, ...origin }: NewOrigin & Pick<JobOrigin, "round">,
    parent: string | undefined,
  ): Promise<number> {
    const { tracing, connection, hasReceipts } = this.#options;
    const { id, model } = job.value;
    const owner = this.#ownerTags.of(keyName);
    const attributes = { "messaging.system": "nats", "vqd.prediction.id": id, "vqd.model": model };
    return tracing.traced("publish job", { kind: SpanKind.PRODUCER, parent, attributes }, (traceparent) =>
      dispatchJob(() => connection.open(), job, { ...origin, traceparent, hasReceipts, owner }),
    );
  }

  async #publishNew(job: Framed<Job>, origin: NewOrigin, parent: string | undefined): Promise<void> {
    const { id } = job.value;
    try {
      this.#noteSequence(id, await this.#publish(job, { ...origin, round: 0 }, parent));
    } catch (error) {
      this.#drop(id, error);
      throw error;
    }
  }

  /**
   * Stores the job's sequence soon, together with others, so that its caller need not wait for another write to disk. A hub
   * that dies before then cannot delete the job, but stops its worker as soon as that starts.
   */
  #noteSequence(id: string, sequence: number): void {
    if (this.#sequences.size === 0) setTimeout(() => this.storeSequences(), SEQUENCES_MS);
    this.#sequences.set(id, sequence);
  }

  /** Removes a prediction whose job was refused. If it may be queued after all, it is kept as failed, so that its worker is stopped. */
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
    log.warn("cannot dispatch a prediction", { prediction: id, isAmbiguous, cause, ...errorFields(error) });
    onDropped(id);
  }
}
