// Server-sent events, written on demand: a reader that is slow, or gone, holds no memory.

import type { StoredEvent } from "./store.ts";

const KEEP_ALIVE_MS = 15_000;
/** Events read at once; one holds at most some tens of kB. */
const BATCH = 16;
/** What a browser's EventSource waits before it comes back. */
const RETRY_MS = 1_000;

export interface SseSource {
  /** Events after `seq`, at most `limit`. */
  read(seq: number, limit: number): StoredEvent[];
  /** False once nothing more can come: then the stream ends, also without a `done`. */
  isLive(): boolean;
  /** Resolves at the next change, after `timeoutMs`, or when `signal` aborts; true for a change. */
  changed(timeoutMs: number, signal: AbortSignal): Promise<boolean>;
  /** Turns stored data into what this reader is sent. */
  format(event: StoredEvent): string;
}

const encoder = new TextEncoder();

/** One frame. Data with line breaks takes one `data:` line each; a final break is kept as an empty one. */
function frame({ seq, type, data }: StoredEvent): string {
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
  return `id: ${seq}\nevent: ${type}\n${lines.join("")}\n`;
}

function finish(controller: ReadableByteStreamController): void {
  controller.close();
  // A pending read into the reader's buffer has to be answered before the stream counts as closed.
  controller.byobRequest?.respond(0);
}

/** The events after `after` up to and including `done`, then the end. */
export function eventStream(
  source: SseSource,
  after: number,
  signal: AbortSignal,
): ReadableStream<Uint8Array> {
  let seq = after;
  let isFirst = true;
  const left = new AbortController();
  const gone = AbortSignal.any([signal, left.signal]);

  return new ReadableStream({
    type: "bytes",
    async pull(controller: ReadableByteStreamController): Promise<void> {
      if (isFirst) {
        isFirst = false;
        controller.enqueue(encoder.encode(`retry: ${RETRY_MS}\n\n`));
        return;
      }
      while (!gone.aborted) {
        const events = source.read(seq, BATCH);
        const last = events.at(-1);
        if (last !== undefined) {
          seq = last.seq;
          const frames = events.map((event) => frame({ ...event, data: source.format(event) }));
          controller.enqueue(encoder.encode(frames.join("")));
          if (last.type === "done") finish(controller);
          return;
        }
        if (!source.isLive()) break;
        if (!(await source.changed(KEEP_ALIVE_MS, gone)) && !gone.aborted) {
          controller.enqueue(encoder.encode(": keep-alive\n\n"));
          return;
        }
      }
      finish(controller);
    },
    cancel(): void {
      left.abort();
    },
  });
}
