// The open event streams of a hub, each fed from stored events.

import type { Logger } from "@vqd/shared/log.ts";
import type { OwnerRate } from "../admission/owner-rate.ts";
import type { ChangeNotifier } from "../change-notifier.ts";
import { BatchCache } from "./frames.ts";
import { isFinal } from "../../prediction/statuses.ts";
import type { ReaderSlots } from "./reader-slots.ts";
import { eventStream, type SseSource } from "./sse.ts";
import type { PredictionRow } from "../storage/prediction-row.ts";
import type { PredictionStore } from "../storage/store.ts";
import { eventForm, parseStreamQuery, refusedReader, tooManyReaders } from "./stream-request.ts";

interface ReadersOptions {
  readonly store: PredictionStore;
  readonly changes: ChangeNotifier;
  readonly slots: ReaderSlots;
  /** Limits the openings by owner of the prediction, whoever reads: each may replay all of its events. */
  readonly openings: OwnerRate;
  readonly log: Logger;
}

export class Readers {
  readonly #options: ReadersOptions;
  readonly #batches = new BatchCache();

  constructor(options: ReadersOptions) {
    this.#options = options;
  }

  /** Responds to a request for a prediction's event stream. If it names a key's owner, the handler has authenticated the key. */
  open(request: Request): Response {
    const { store, slots, openings } = this.#options;
    const query = parseStreamQuery(new URL(request.url));
    const row = store.get(query.id);
    const allowed =
      row !== undefined &&
      row.deletedAt === null &&
      ("keyName" in query ? row.keyName === query.keyName : row.streamCapability === query.capability);
    if (!allowed) return new Response(null, { status: 404 });
    if (isFinal(row.status) && !store.events.hasAfter(row.id, query.after)) {
      // Tells an EventSource that has seen everything not to reconnect.
      return new Response(null, { status: 204 });
    }
    if (!slots.hasRoom(row.keyName)) return tooManyReaders();
    try {
      openings.admit(row.keyName);
    } catch (error) {
      return refusedReader(error);
    }
    openings.count(row.keyName, query.after === 0 ? row.stepBytes : 0);
    const source = this.#source(row, eventForm(row, query));
    return new Response(eventStream(source, query.after, request.signal), {
      headers: {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
      },
    });
  }

  #source(row: PredictionRow, { view, format }: ReturnType<typeof eventForm>): SseSource {
    const { store, changes, log } = this.#options;
    const release = this.#options.slots.take(row.keyName);
    let wake = (): void => {};
    const subscription = changes.subscribe(row.id, () => wake());
    return {
      read: (seq) => {
        if (subscription.newest === seq) return "later";
        const batch = this.#batches.get(view, seq, (limit) => store.events.after(row.id, seq, limit), format);
        if (batch !== undefined) return batch;
        if (!store.isLive(row.id)) return "never";
        subscription.newest = seq;
        return "later";
      },
      onChange: (listener) => (wake = listener),
      onEnd: () => {
        subscription.unsubscribe();
        release();
        log.debug("reader disconnected", { prediction: row.id });
      },
    };
  }
}
