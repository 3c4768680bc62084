// Applies each message of the events stream exactly once: first its file, then row and cursor in one transaction.

import { decodeEvent, type Framed } from "@vqd/shared/codec.ts";
import type { PredictionEvent } from "@vqd/shared/events.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { StreamCursor } from "./nats/cursor.ts";
import { putImage } from "./storage/files.ts";
import { SpanKind } from "@opentelemetry/api";
import type { Tracing } from "../telemetry/tracing.ts";
import type { HubMetrics } from "./metrics.ts";
import type { StreamMessage } from "./nats/follow.ts";
import { endPrediction, ingest, isFenced } from "./ingest.ts";
import { isFinal } from "../prediction/statuses.ts";
import type { PredictionRow } from "./storage/prediction-row.ts";
import type { PredictionStore } from "./storage/store.ts";

export interface EventApplierOptions {
  readonly store: PredictionStore;
  readonly cursor: StreamCursor;
  readonly files: R2Bucket;
  readonly tracing: Tracing;
  readonly metrics: HubMetrics;
  readonly log: Logger;
  /** Called when there is something new for readers of the prediction. */
  readonly onChanged: (id: string) => void;
  /** Called when the prediction has just ended. */
  readonly onEnded: (id: string) => void;
  /** Called for an event without effect: its prediction is unknown, has ended, or has moved on. */
  readonly onOrphan: (id: string, row: PredictionRow | undefined, event: PredictionEvent) => void;
}

export class EventApplier {
  readonly #options: EventApplierOptions;

  constructor(options: EventApplierOptions) {
    this.#options = options;
  }

  /** Call in stream order, one message at a time. Throws only if storage fails. */
  async apply(message: StreamMessage): Promise<void> {
    const { store, cursor, log, onChanged, onEnded, onOrphan } = this.#options;
    const id = message.subject.slice(message.subject.lastIndexOf(".") + 1);
    const framed = this.#decode(message);
    const before = store.get(id);
    if (framed === undefined || before === undefined) {
      cursor.advance(message.sequence);
      if (framed !== undefined) onOrphan(id, before, framed.value);
      return;
    }
    const { value: event, attachment } = framed;
    const isStored = await this.#storeFile(before, event, attachment, message.traceparent);
    // The row may have changed while the file was being stored.
    const row = store.get(id) ?? before;
    const changed = store.atomically(() => {
      cursor.advance(message.sequence);
      if (isStored) return ingest(store, row, event, attachment);
      // Losing a preview is no reason to fail the prediction.
      if (isFinal(row.status) || event.type === "preview") return false;
      const error = { code: "internal", message: "an image could not be stored" } as const;
      endPrediction(store, id, { status: "failed", at: Date.now(), error, release: true });
      return true;
    });
    const after = store.get(id);
    if (changed) this.#measure(row, after);
    if (changed && after !== undefined && isFinal(after.status)) {
      log.info("ended", { prediction: id, status: after.status, code: after.errorCode });
      onEnded(id);
    } else if (changed) {
      onChanged(id);
    } else {
      onOrphan(id, row, event);
    }
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

  /** Stores an event's image; returns false if that failed for good. */
  async #storeFile(
    row: PredictionRow,
    event: PredictionEvent,
    image: Uint8Array,
    parent: string | undefined,
  ): Promise<boolean> {
    const { files, tracing, metrics } = this.#options;
    if ((event.type !== "output" && event.type !== "preview") || isFenced(row, event)) return true;
    try {
      const attributes = { "vqd.prediction.id": row.id, "vqd.image": event.index, "vqd.bytes": image.length };
      await tracing.traced("store image", { kind: SpanKind.CONSUMER, parent, attributes }, () =>
        putImage(files, row, event, image),
      );
      metrics.count("vqd_hub_images_stored_total");
      return true;
    } catch (error) {
      metrics.count("vqd_hub_image_failures_total");
      this.#options.log.error("cannot store an image", { prediction: row.id, ...errorFields(error) });
      return false;
    }
  }

  /** An unreadable event is skipped: it would block all later ones. */
  #decode(message: StreamMessage): Framed<PredictionEvent> | undefined {
    try {
      return decodeEvent(message.data);
    } catch (error) {
      this.#options.log.warn("ignoring an unreadable event", {
        subject: message.subject,
        ...errorFields(error),
      });
      return undefined;
    }
  }
}
