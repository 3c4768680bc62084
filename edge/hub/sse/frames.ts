// Server-sent events as bytes, encoded once for all readers at the same position.

import type { StoredEvent } from "../../prediction/records.ts";
import type { EventForm } from "./stream-request.ts";

/** A batch ends with the event that reaches this size, which limits what a reader holds; one event may be 100 kB. */
const MAX_BATCH_BYTES = 32 * 1024;
const MAX_BATCH_EVENTS = 16;
/** Total size of cached batches. Readers that keep up share the newest ones; those that lag behind encode their own. */
const MAX_KEPT_BYTES = 1024 * 1024;

/** Consecutive events, encoded. */
export interface Batch {
  readonly bytes: Uint8Array;
  /** Sequence number of the last event. */
  readonly last: number;
  /** Whether the last event ends the stream. */
  readonly isEnd: boolean;
}

const encoder = new TextEncoder();

/** One frame, with a `data:` line per line of data; a trailing newline becomes an empty one. Without data, a comment. */
function frame({ seq, type }: StoredEvent, data: string | undefined): string {
  if (data === undefined) return ":\n\n";
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
  return `id: ${seq}\nevent: ${type}\n${lines.join("")}\n`;
}

function encodeBatch(events: readonly StoredEvent[], format: EventForm["format"]): Batch | undefined {
  let text = "";
  let last: StoredEvent | undefined;
  for (const event of events) {
    text += frame(event, format(event));
    last = event;
    if (text.length >= MAX_BATCH_BYTES) break;
  }
  if (last === undefined) return undefined;
  return { bytes: encoder.encode(text), last: last.seq, isEnd: last.type === "done" };
}

/** Cache of the newest batches. Events never change, so a batch never becomes stale. */
export class BatchCache {
  readonly #batches = new Map<string, Batch>();
  #bytes = 0;

  /**
   * The batch that follows event `after` in `view` (a prediction in one format); undefined if there is none yet. `read`
   * returns up to `limit` events from there on.
   */
  get(
    view: string,
    after: number,
    read: (limit: number) => StoredEvent[],
    format: EventForm["format"],
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
