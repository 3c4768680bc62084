// Follows a prediction's event stream to its end, resuming after disconnects.

import { VqdError } from "./error.js";
import { tokensOf } from "./pixels.js";
import { messagesOf } from "./sse.js";

/** @typedef {import("./types.d.ts").PredictionEvent} PredictionEvent */

const GIVE_UP_AFTER_MS = 300_000;
const FIRST_DELAY_MS = 1_000;
const MAX_DELAY_MS = 10_000;
/** Failures that pass: too many streams, a service that restarts. */
const PASSING = new Set([0, 429, 500, 502, 503, 504]);

/** @param {import("./sse.js").Message} message @returns {PredictionEvent} */
function eventOf({ id, type, data: text }) {
  const data = type === "logs" ? text : JSON.parse(text);
  if (type === "step") data.tokens = tokensOf(data.tokens, data.images);
  return /** @type {PredictionEvent} */ ({ id: Number(id), type, data });
}

/** @param {number} ms @param {AbortSignal | undefined} signal */
function delay(ms, signal) {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve(undefined);
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/**
 * The events after `after`, up to and including `done`. Throws a VqdError if the stream is refused, or cannot be opened again for
 * `giveUpAfterMs`; and the signal's reason when it aborts.
 * @param {(after: number) => Promise<Response>} open requests the stream after that event; throws a VqdError
 * @param {import("./types.d.ts").EventsOptions} options
 * @returns {AsyncGenerator<PredictionEvent, void, void>}
 */
export async function* follow(open, { after = 0, signal, onDisconnect, giveUpAfterMs = GIVE_UP_AFTER_MS }) {
  let last = after;
  let lostAt = Date.now();
  let wait = FIRST_DELAY_MS;
  for (;;) {
    /** @type {unknown} */
    let failure;
    try {
      const { status, body } = await open(last);
      // There is nothing after `last`.
      if (status === 204 || body === null) return;
      for await (const message of messagesOf(body)) {
        const event = eventOf(message);
        last = event.id;
        yield event;
        if (event.type === "done") return;
        lostAt = Date.now();
        wait = FIRST_DELAY_MS;
      }
    } catch (error) {
      signal?.throwIfAborted();
      // Of a connection that breaks, fetch and readers throw errors of their own.
      if (error instanceof SyntaxError) throw error;
      if (error instanceof VqdError && !PASSING.has(error.status)) throw error;
      failure = error;
    }
    if (Date.now() - lostAt > giveUpAfterMs) {
      throw failure instanceof VqdError ? failure : new VqdError("the event stream is lost", { status: 0 });
    }
    onDisconnect?.();
    signal?.throwIfAborted();
    const asked = failure instanceof VqdError ? (failure.retryAfterMs ?? 0) : 0;
    await delay(Math.max(wait, asked), signal);
    wait = Math.min(2 * wait, MAX_DELAY_MS);
  }
}
