// Server-sent events, written on demand: a reader that is slow, or gone, holds no memory.

import type { Batch } from "./frames.ts";

const KEEP_ALIVE_MS = 15_000;
/** What a browser's EventSource waits before it comes back. */
const RETRY_MS = 1_000;

export interface SseSource {
  /** The events after `seq`, a few at a time; "later" if there are none yet, "never" if nothing more can come. */
  read(seq: number): Batch | "later" | "never";
  /** Calls `wake` whenever there may be something new, until `onEnd`. */
  onChange(wake: () => void): void;
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
  const ended = new AbortController();
  let wake = (): void => {};
  const woken = (): Promise<void> => new Promise((resolve) => (wake = resolve));
  source.onChange(() => wake());
  // One timer for the life of a reader: one for each wait would be made and thrown away at every step.
  let isQuiet = false;
  const quiet = setInterval(() => {
    isQuiet = true;
    wake();
  }, KEEP_ALIVE_MS);
  const end = (): void => {
    if (ended.signal.aborted) return;
    ended.abort();
    clearInterval(quiet);
    source.onEnd();
    wake();
  };
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();

  return new ReadableStream({
    type: "bytes",
    async pull(controller: ReadableByteStreamController): Promise<void> {
      if (isFirst) {
        isFirst = false;
        controller.enqueue(encoder.encode(`retry: ${RETRY_MS}\n\n`));
        return;
      }
      isQuiet = false;
      while (!ended.signal.aborted) {
        const batch = source.read(seq);
        if (batch === "never") break;
        if (batch !== "later") {
          seq = batch.last;
          // A copy: the stream takes the buffer away, and other readers want it too.
          controller.enqueue(batch.bytes.slice());
          if (!batch.isEnd) return;
          break;
        }
        await woken();
        if (isQuiet && !ended.signal.aborted) {
          controller.enqueue(encoder.encode(": keep-alive\n\n"));
          return;
        }
      }
      end();
      finish(controller);
    },
    cancel(): void {
      end();
    },
  });
}
