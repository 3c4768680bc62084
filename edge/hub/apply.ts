// Applies each message of the events stream exactly once: first its file, then row and cursor in one transaction.

import { SpanKind } from "@opentelemetry/api";
import { decodeEvent, type Framed } from "@vqd/shared/codec.ts";
import type { PredictionEvent } from "@vqd/shared/events.ts";
import { errorFields, type LogFields, type Logger } from "@vqd/shared/log.ts";
import { type EventPlace, parseEventSubject } from "@vqd/shared/subjects.ts";
import type { Change } from "./change-notifier.ts";
import type { Tracing } from "../telemetry/tracing.ts";
import { contradictionOf } from "./event-check.ts";
import { endPrediction, ingest, isFenced, isFileDue } from "./ingest.ts";
import type { HubMetrics } from "./metrics.ts";
import type { StreamCursor } from "./nats/cursor.ts";
import type { StreamMessage } from "./nats/follow.ts";
import type { ModelRegistry } from "./nats/manifests.ts";
import { isFinal } from "../prediction/statuses.ts";
import { type FileEvent, fileOf, putImage } from "./storage/files.ts";
import type { ParkedEvents } from "./storage/parked-events.ts";
import { keyOf, type PredictionRow } from "./storage/prediction-row.ts";
import type { PredictionStore } from "./storage/store.ts";

const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 10_000;
/** Attempts to store a preview; an output is retried until its prediction has ended. */
const PREVIEW_TRIES = 4;

export interface EventApplierOptions {
  readonly shard: number;
  readonly store: PredictionStore;
  readonly cursor: StreamCursor;
  readonly parked: ParkedEvents;
  readonly models: Pick<ModelRegistry, "get">;
  readonly files: R2Bucket;
  readonly tracing: Tracing;
  readonly metrics: HubMetrics;
  readonly log: Logger;
  /** Called when there is something new for readers of the prediction. */
  readonly onChanged: (id: string, change: Change) => void;
  /** Called when an attempt has started, before `onChanged`. */
  readonly onStarted: (row: PredictionRow) => void;
  /** Called when the prediction has just ended. */
  readonly onEnded: (id: string) => void;
  /** Called for an event without effect: its prediction is unknown, has ended, or has moved on. */
  readonly onOrphan: (place: EventPlace, row: PredictionRow | undefined, event: PredictionEvent) => void;
}

/**
 * Applies events. An event that contradicts its prediction is rejected, and the prediction fails. If object storage does not
 * accept an event's image, the event and those that follow it are parked. Only a failure of SQLite is thrown: then nothing
 * has changed, and the event must be applied again.
 */
export class EventApplier {
  readonly #options: EventApplierOptions;
  /** Consecutive failures to store the image of a prediction's next event. */
  readonly #tries = new Map<string, number>();
  #isRetrying = false;
  #retryDelayMs = RETRY_MIN_MS;

  constructor(options: EventApplierOptions) {
    this.#options = options;
    if (options.parked.count > 0) this.#retrySoon();
  }

  /** Call in stream order, one message at a time. Throws only if SQLite fails. */
  async apply(message: StreamMessage): Promise<void> {
    const { shard, store, cursor, parked } = this.#options;
    const settle = (): void => cursor.advance(message.sequence);
    const place = parseEventSubject(message.subject);
    if (place?.shard !== shard) {
      this.#ignoreMisplaced();
      settle();
      return;
    }
    const id = place.predictionId;
    if (!parked.has(id) && (await this.#take(place, message, settle))) return;
    store.atomically(() => {
      parked.add(id, message);
      settle();
    });
    this.#retrySoon();
  }

  /** Of a message that is for no prediction of this shard, or from a worker that may not serve the prediction's model. */
  #ignoreMisplaced(): void {
    this.#options.metrics.count("vqd_hub_events_refused_total", "misplaced");
  }

  #retrySoon(): void {
    if (this.#isRetrying) return;
    this.#isRetrying = true;
    setTimeout(() => {
      void this.#retry().finally(() => {
        this.#isRetrying = false;
        if (this.#options.parked.count > 0) this.#retrySoon();
        else this.#retryDelayMs = RETRY_MIN_MS;
      });
    }, this.#retryDelayMs);
  }

  /** Applies parked events, as far as object storage accepts their images. Never rejects. */
  async #retry(): Promise<void> {
    const { parked, log } = this.#options;
    this.#retryDelayMs = Math.min(2 * this.#retryDelayMs, RETRY_MAX_MS);
    for (const id of parked.ids()) {
      try {
        for (let next = parked.first(id); next !== undefined; next = parked.first(id)) {
          const { sequence } = next;
          const place = parseEventSubject(next.subject);
          const settle = (): void => parked.remove(id, sequence);
          if (place === undefined) settle();
          else if (!(await this.#take(place, next, settle))) break;
          this.#retryDelayMs = RETRY_MIN_MS;
        }
      } catch (error) {
        log.error("cannot apply a parked event", { prediction: id, ...errorFields(error) });
      }
    }
  }

  /**
   * Applies an event, and calls `settle` in the same transaction. Returns false if that has to wait for object storage; then
   * nothing has changed.
   */
  async #take(place: EventPlace, message: StreamMessage, settle: () => void): Promise<boolean> {
    const { store, models, log, onChanged, onStarted, onEnded, onOrphan } = this.#options;
    const id = place.predictionId;
    const before = store.get(id);
    if (before !== undefined && place.modelKey !== undefined && place.modelKey !== keyOf(before)) {
      this.#ignoreMisplaced();
      settle();
      return true;
    }
    const framed = decode(message);
    if (before === undefined || isFinal(before.status)) {
      settle();
      if (!(framed instanceof Error)) onOrphan(place, before, framed.value);
      return true;
    }
    if (framed instanceof Error) {
      this.#reject(before, { reason: "unreadable", what: "not an event" }, settle);
      return true;
    }
    const { value: event, attachment } = framed;
    const file = event.type === "output" ? fileOf(before, event, attachment) : attachment;
    if (!isFenced(before, event)) {
      const model = models.get(keyOf(before));
      const what = contradictionOf(before, model, framed);
      if (what !== undefined) {
        this.#reject(before, { reason: "contradictory", what: `${event.type}: ${what}` }, settle);
        return true;
      }
      if (isFileDue(before, event) && !(await this.#storeFile(before, event, message, file))) {
        const tries = (this.#tries.get(id) ?? 0) + 1;
        this.#tries.set(id, tries);
        if (event.type !== "preview" || tries < PREVIEW_TRIES) return false;
        // Losing a preview is no reason to fail the prediction.
        settle();
        this.#tries.delete(id);
        return true;
      }
      this.#tries.delete(id);
    }
    // The row may have changed while the file was being stored.
    const row = store.get(id) ?? before;
    let failure: unknown;
    const changed = store.atomically(() => {
      settle();
      try {
        return store.atomically(() => ingest(store, row, event, file));
      } catch (error) {
        // If the cause is SQLite itself, this fails too, and nothing has changed.
        failPrediction(store, id, event.type);
        failure = error;
        return true;
      }
    });
    if (failure !== undefined) this.#report(id, "unapplicable", event.type, errorFields(failure));
    else if (changed) this.#measure(row, store.get(id));
    const after = store.get(id);
    if (changed && after !== undefined && isFinal(after.status)) {
      log.info("ended", { prediction: id, status: after.status, code: after.errorCode });
      onEnded(id);
    } else if (changed) {
      if (after !== undefined && after.attempt !== row.attempt) onStarted(after);
      onChanged(id, event.type === "step" ? "step" : "other");
    } else {
      onOrphan(place, row, event);
    }
    return true;
  }

  /** Fails the prediction, since its worker's reports cannot be trusted. */
  #reject(
    { id }: PredictionRow,
    { reason, what }: { reason: "unreadable" | "contradictory"; what: string },
    settle: () => void,
  ): void {
    const { store, onEnded } = this.#options;
    store.atomically(() => {
      settle();
      failPrediction(store, id, what);
    });
    this.#report(id, reason, what);
    onEnded(id);
  }

  #report(id: string, reason: string, what: string, fields: LogFields = {}): void {
    const { metrics, log } = this.#options;
    metrics.count("vqd_hub_events_refused_total", reason);
    log.error("rejected an event; its prediction has failed", { prediction: id, reason, what, ...fields });
  }

  /** Records the durations that an event completes. */
  #measure(before: PredictionRow, after: PredictionRow | undefined): void {
    const { metrics } = this.#options;
    metrics.count("vqd_hub_events_total");
    if (after === undefined) return;
    const { createdAt, startedAt, completedAt, status } = after;
    if (before.startedAt === null && startedAt !== null) {
      metrics.observe("vqd_hub_queue_wait_seconds", (startedAt - createdAt) / 1_000);
    }
    if (status === "succeeded" && completedAt !== null) {
      metrics.observe("vqd_hub_prediction_duration_seconds", (completedAt - createdAt) / 1_000);
    }
  }

  /** Stores an event's image; returns false if that failed. */
  async #storeFile(
    row: PredictionRow,
    event: FileEvent,
    { traceparent }: StreamMessage,
    image: Uint8Array,
  ): Promise<boolean> {
    const { files, tracing, metrics, log } = this.#options;
    try {
      const attributes = { "vqd.prediction.id": row.id, "vqd.image": event.index, "vqd.bytes": image.length };
      await tracing.traced("store image", { kind: SpanKind.CONSUMER, parent: traceparent, attributes }, () =>
        putImage(files, row, event, image),
      );
      metrics.count("vqd_hub_images_stored_total");
      return true;
    } catch (error) {
      metrics.count("vqd_hub_image_failures_total");
      log.error("cannot store an image", { prediction: row.id, ...errorFields(error) });
      return false;
    }
  }
}

/** Call within a transaction. */
function failPrediction(store: PredictionStore, id: string, what: string): void {
  const error = { code: "internal", message: `the worker sent an invalid event (${what})` } as const;
  endPrediction(store, id, { status: "failed", at: Date.now(), error, release: true });
}

function decode({ data }: StreamMessage): Framed<PredictionEvent> | Error {
  try {
    return decodeEvent(data);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
