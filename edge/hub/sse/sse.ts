// Server-sent events, written on demand, so that a slow or vanished reader takes no memory.

import type { Batch } from "./frames.ts";

const KEEP_ALIVE_MS = 15_000;
/** How long a browser's EventSource waits before it reconnects. */
const RETRY_MS = 1_000;

export interface SseSource {
  /** The next events after `seq`; "later" if there are none yet, "never" if there will be none. */
  read(seq: number): Batch | "later" | "never";
  /** Registers `wake` to be called whenever there may be something new, until `onEnd`. */
  onChange(wake: () => void): void;
  /** Called once, when the reader has received everything or has disconnected. */
  onEnd(): void;
}

const encoder = new TextEncoder();

function finish(controller: ReadableByteStreamController): void {
  controller.close();
  // A pending BYOB read must be answered before the stream counts as closed.
  controller.byobRequest?.respond(0);
}

/** A stream of the events after `after`, up to and including `done`. */
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
  // One timer per reader rather than one per wait, which would be created and discarded with every step.
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
          // A copy: the stream detaches the buffer, which other readers share.
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
