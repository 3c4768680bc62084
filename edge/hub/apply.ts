// Makes a message of the events stream take effect exactly once: file first, then row and cursor together.

import { decodeEvent, type Framed } from "@vqd/shared/codec.ts";
import type { PredictionEvent } from "@vqd/shared/events.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { StreamCursor } from "./cursor.ts";
import { putImage } from "./files.ts";
import type { StreamMessage } from "./follow.ts";
import { endPrediction, ingest, isFenced } from "./ingest.ts";
import { isFinal } from "./records.ts";
import type { PredictionRow, PredictionStore } from "./store.ts";

export interface EventApplierOptions {
  readonly store: PredictionStore;
  readonly cursor: StreamCursor;
  readonly files: R2Bucket;
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
    const isStored = await this.#storeFile(before, event, attachment);
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
    if (changed && after !== undefined && isFinal(after.status)) {
      log.info("ended", { prediction: id, status: after.status, code: after.errorCode });
      onEnded(id);
    } else if (changed) {
      onChanged(id);
    } else {
      onOrphan(id, row, event);
    }
  }

  /** Puts an event's image into storage; false if that failed for good. */
  async #storeFile(row: PredictionRow, event: PredictionEvent, image: Uint8Array): Promise<boolean> {
    if ((event.type !== "output" && event.type !== "preview") || isFenced(row, event)) return true;
    try {
      await putImage(this.#options.files, row, event, image);
      return true;
    } catch (error) {
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
