// The open event streams of a hub, each fed from the stored rows.

import type { Logger } from "@vqd/shared/log.ts";
import type { Changes } from "./changes.ts";
import { BatchCache } from "./frames.ts";
import { isFinal } from "./records.ts";
import { eventStream, type SseSource } from "./sse.ts";
import type { PredictionRow } from "./prediction-row.ts";
import type { PredictionStore } from "./store.ts";
import { eventForm, parseStreamQuery, tooManyReaders } from "./stream-request.ts";

/** Open event streams of a hub. */
const MAX_READERS = 2_000;

interface ReadersOptions {
  readonly store: PredictionStore;
  readonly changes: Changes;
  readonly log: Logger;
}

export class Readers {
  readonly #options: ReadersOptions;
  readonly #batches = new BatchCache();
  #count = 0;

  constructor(options: ReadersOptions) {
    this.#options = options;
  }

  /** Streams that are open now. */
  get count(): number {
    return this.#count;
  }

  /** Answers a request for a prediction's event stream; its handler has checked the key, if the URL names one. */
  open(request: Request): Response {
    const { store } = this.#options;
    const query = parseStreamQuery(new URL(request.url));
    const row = store.get(query.id);
    const allowed =
      row !== undefined &&
      ("keyName" in query ? row.keyName === query.keyName : row.streamCapability === query.capability);
    if (!allowed) return new Response(null, { status: 404 });
    if (isFinal(row.status) && !store.events.hasAfter(row.id, query.after)) {
      // Tells an EventSource that has seen the end not to come back.
      return new Response(null, { status: 204 });
    }
    if (this.#count >= MAX_READERS) return tooManyReaders();
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
    this.#count++;
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
        this.#count--;
        log.debug("reader left", { prediction: row.id });
      },
    };
  }
}
