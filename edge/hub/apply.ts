// Makes a message of the events stream take effect exactly once: file first, then row and cursor together.

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
  /** Readers of the prediction have something new. */
  readonly onChanged: (id: string) => void;
  /** The prediction has just ended. */
  readonly onEnded: (id: string) => void;
  /** An event was for a prediction that has ended before or is unknown. */
  readonly onOrphan: (id: string, row: PredictionRow | undefined, event: PredictionEvent) => void;
}

export class EventApplier {
  readonly #options: EventApplierOptions;

  constructor(options: EventApplierOptions) {
    this.#options = options;
  }

  /** Call in the order of the stream, one message after the other. Throws only if storage fails. */
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
    // The row may have changed while the file was stored.
    const row = store.get(id) ?? before;
    const changed = store.atomically(() => {
      cursor.advance(message.sequence);
      if (isStored) return ingest(store, row, event, attachment);
      // A preview that is lost is not worth the prediction.
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

  /** Times of a prediction that an event has changed. */
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

  /** Puts an event's image into storage; false if that failed for good. */
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

  /** An event that cannot be read is skipped: it would stop all that come after. */
  #decode(message: StreamMessage): Framed<PredictionEvent> | undefined {
    try {
      return decodeEvent(message.data);
    } catch (error) {
      this.#options.log.warn("event ignored", { subject: message.subject, ...errorFields(error) });
      return undefined;
    }
  }
}
