// What becomes of a prediction whose client leaves before it has its answer.

import type { PredictionRecord } from "../prediction/records.ts";
import { waitForEnd } from "../service/wait.ts";
import type { AppContext } from "./context.ts";

/** A function that cancels the prediction the first time it is called, or leaves it to the client's next try for a while. */
export function departure(c: AppContext, id: string, mayRetry: boolean): () => void {
  let hasLeft = false;
  return () => {
    if (hasLeft) return;
    hasLeft = true;
    const [hub, keyName] = [c.get("hubs").ofPrediction(id), c.get("keyName")];
    c.executionCtx.waitUntil(mayRetry ? hub.abandon(id, keyName) : hub.cancel(id, keyName));
  };
}

/** Calls `onDisconnect` when the client leaves, or now if it left before. Returns what calls that off. */
export function whenLeft(c: AppContext, onDisconnect: () => void): () => void {
  const { signal } = c.req.raw;
  signal.addEventListener("abort", onDisconnect);
  // It may have left while the prediction was created; then there is no event any more.
  if (signal.aborted) onDisconnect();
  return () => signal.removeEventListener("abort", onDisconnect);
}

/** The prediction once it has ended; `onDisconnect` is called if the client leaves before that. */
export async function endOf(c: AppContext, id: string, onDisconnect: () => void): Promise<PredictionRecord> {
  c.get("leaveTurn")();
  const callOff = whenLeft(c, onDisconnect);
  try {
    // Not forever: every prediction has deadlines.
    return await waitForEnd(c.get("hubs"), id, c.get("keyName"), Infinity);
  } finally {
    callOff();
  }
}
