// Waits for changes to a prediction, even if its hub is moved, redeployed or evicted in the meantime.

import { VqdError } from "@vqd/shared/errors.ts";
import type { EventQuery, PredictionRecord, StoredEvent } from "../prediction/records.ts";
import { type HubResult, unwrap } from "../prediction/hub-result.ts";
import { isFinal } from "../prediction/statuses.ts";
import type { Hubs, HubStub } from "./hubs.ts";

/** Longest wait of a single call to the hub. */
const CALL_MS = 30_000;
const MAX_FAILURES = 5;
const RETRY_MS = 250;

/** The hub's result, retried if the hub goes away. Throws the hub's VqdError. */
async function ask<T>(hubs: Hubs, id: string, call: (hub: HubStub) => Promise<HubResult<T>>): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      // A stub stays broken after a failure, so each call gets its own.
      return unwrap(await call(hubs.ofPrediction(id)));
    } catch (error) {
      if (error instanceof VqdError || failures > MAX_FAILURES) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS * failures));
    }
  }
}

/** The prediction once it has ended, or as it is after `timeoutMs`. Throws a VqdError (not_found). */
export async function waitForEnd(
  hubs: Hubs,
  id: string,
  keyName: string,
  timeoutMs: number,
): Promise<PredictionRecord> {
  const until = Date.now() + timeoutMs;
  const left = (): number => Math.max(0, until - Date.now());
  for (let continues = false; ; continues = true) {
    const record = await ask(hubs, id, (hub) => hub.wait(id, keyName, Math.min(left(), CALL_MS), continues));
    if (isFinal(record.status) || left() === 0) return record;
  }
}

/** The prediction in its current state. Throws a VqdError (not_found). */
export function getRecord(hubs: Hubs, id: string, keyName: string): Promise<PredictionRecord> {
  // Not `get`: this belongs to a request that has been admitted.
  return ask(hubs, id, (hub) => hub.wait(id, keyName, 0, true));
}

/**
 * The next events as soon as there are any; none after `timeoutMs` (30 s at most). Throws a VqdError: not_found, or
 * too_many_readers unless it `continues` an earlier request.
 */
export function nextEvents(
  hubs: Hubs,
  query: EventQuery,
  { timeoutMs, continues }: { timeoutMs: number; continues: boolean },
): Promise<StoredEvent[]> {
  return ask(hubs, query.id, (hub) => hub.events(query, Math.min(timeoutMs, CALL_MS), continues));
}
