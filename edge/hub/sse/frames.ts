// Server-sent events as bytes, made once for all readers that are at the same place.

import type { StoredEvent } from "../../prediction/records.ts";

/** A batch ends with the event that reaches this size, so that a reader holds little more; one event may be 100 kB. */
const MAX_BATCH_BYTES = 32 * 1024;
const MAX_BATCH_EVENTS = 16;
/** Of all batches that are kept. Readers that keep up share the newest ones; those behind make their own. */
const MAX_KEPT_BYTES = 1024 * 1024;

/** Consecutive events, encoded. */
export interface Batch {
  readonly bytes: Uint8Array;
  /** Sequence of the last of them. */
  readonly last: number;
  /** The last of them ends the stream. */
  readonly isEnd: boolean;
}

const encoder = new TextEncoder();

/** One frame. Data with line breaks takes one `data:` line each; a final break is kept as an empty one. */
function frame({ seq, type, data }: StoredEvent): string {
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
  return `id: ${seq}\nevent: ${type}\n${lines.join("")}\n`;
}

function encodeBatch(
  events: readonly StoredEvent[],
  format: (event: StoredEvent) => string,
): Batch | undefined {
  let text = "";
  let last: StoredEvent | undefined;
  for (const event of events) {
    text += frame({ ...event, data: format(event) });
    last = event;
    if (text.length >= MAX_BATCH_BYTES) break;
  }
  if (last === undefined) return undefined;
  return { bytes: encoder.encode(text), last: last.seq, isEnd: last.type === "done" };
}

/** The newest batches of a hub's streams. Events never change, so that a batch is good for ever. */
export class BatchCache {
  readonly #batches = new Map<string, Batch>();
  #bytes = 0;

  /**
   * The batch after event `after` as readers of the kind `view` (prediction and form) see it; undefined if there is
   * none yet. `read` gives the events from there on, up to so many.
   */
  get(
    view: string,
    after: number,
    read: (limit: number) => StoredEvent[],
    format: (event: StoredEvent) => string,
  ): Batch | undefined {
    const key = `${view} ${after}`;
    const known = this.#batches.get(key);
    if (known !== undefined) return known;
    const batch = encodeBatch(read(MAX_BATCH_EVENTS), format);
    if (batch === undefined) return undefined;
    this.#batches.set(key, batch);
    this.#bytes += batch.bytes.length;
    for (const [oldest, { bytes }] of this.#batches) {
      if (this.#bytes <= MAX_KEPT_BYTES) break;
      this.#batches.delete(oldest);
      this.#bytes -= bytes.length;
    }
    return batch;
  }
}
