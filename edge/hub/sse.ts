// Server-sent events, written on demand: a reader that is slow, or gone, holds no memory.

import type { Batch } from "./frames.ts";

const KEEP_ALIVE_MS = 15_000;
/** What a browser's EventSource waits before it comes back. */
const RETRY_MS = 1_000;

export interface SseSource {
  /** The events after `seq`, a few at a time; undefined if there are none yet. */
  read(seq: number): Batch | undefined;
  /** False once nothing more can come: then the stream ends, also without a `done`. */
  isLive(): boolean;
  /** Resolves at the next change, after `timeoutMs`, or when `signal` aborts; true for a change. */
  changed(timeoutMs: number, signal: AbortSignal): Promise<boolean>;
  /** The reader has all, or has left; called once. */
  onEnd(): void;
}

const encoder = new TextEncoder();

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
  let hasEnded = false;
  const end = (): void => {
    if (!hasEnded) source.onEnd();
    hasEnded = true;
  };
  gone.addEventListener("abort", end, { once: true });

  return new ReadableStream({
    type: "bytes",
    async pull(controller: ReadableByteStreamController): Promise<void> {
      if (isFirst) {
        isFirst = false;
        controller.enqueue(encoder.encode(`retry: ${RETRY_MS}\n\n`));
        return;
      }
      while (!gone.aborted) {
        const batch = source.read(seq);
        if (batch !== undefined) {
          seq = batch.last;
          // A copy: the stream takes the buffer away, and other readers want it too.
          controller.enqueue(batch.bytes.slice());
          if (!batch.isEnd) return;
          break;
        }
        if (!source.isLive()) break;
        if (!(await source.changed(KEEP_ALIVE_MS, gone)) && !gone.aborted) {
          controller.enqueue(encoder.encode(": keep-alive\n\n"));
          return;
        }
      }
      end();
      finish(controller);
    },
    cancel(): void {
      left.abort();
    },
  });
}
