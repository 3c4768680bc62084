// Waiting for a prediction's end from a request, also across a hub that is moved, redeployed or evicted meanwhile.

import { VqdError } from "@vqd/shared/errors.ts";
import type { Env } from "./env.ts";
import { isFinal, type PredictionRecord, unwrap } from "./hub/records.ts";
import { hubOfPrediction } from "./hubs.ts";

/** One call to the hub waits this long at most. */
const CALL_MS = 30_000;
const MAX_FAILURES = 5;
const RETRY_MS = 250;

/** The prediction when it has ended, at the latest after `timeoutMs`. Throws a VqdError (not_found). */
export async function waitForEnd(
  env: Env,
  id: string,
  keyName: string,
  timeoutMs: number,
): Promise<PredictionRecord> {
  const until = Date.now() + timeoutMs;
  let failures = 0;
  for (;;) {
    const left = Math.max(0, until - Date.now());
    try {
      // A stub that has failed stays broken, so each call has its own.
      const result = await hubOfPrediction(env, id).wait(id, keyName, Math.min(left, CALL_MS));
      const record = unwrap(result);
      if (isFinal(record.status) || left === 0) return record;
      failures = 0;
    } catch (error) {
      failures++;
      if (error instanceof VqdError || failures > MAX_FAILURES) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS * failures));
    }
  }
}
