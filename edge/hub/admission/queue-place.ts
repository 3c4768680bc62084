// Estimates how long a prediction will wait, from the work ahead of it and the pace of recent predictions.

import { VqdError } from "@vqd/shared/errors.ts";
import type { QueuePlace } from "../../prediction/records.ts";
import type { PredictionRow } from "../storage/prediction-row.ts";
import type { PredictionStore, QueueTicket } from "../storage/store.ts";

/**
 * The queue position of a prediction that has not started; null for others. Only predictions of this hub are counted: with
 * several hubs there may be more in the queue.
 */
export function queuePlace(store: PredictionStore, row: PredictionRow): QueuePlace | null {
  if (row.status !== "starting") return null;
  const { position, seconds } = estimate(store, row);
  return { position, etaSeconds: seconds === null ? null : Math.ceil(seconds) };
}

/**
 * Refuses a prediction that would wait too long, since it would only fail later, after its caller has waited for nothing.
 * Throws a VqdError (queue_full) that says when to retry. While the model's pace is unknown everything is admitted.
 */
export function admitToQueue(store: PredictionStore, ticket: QueueTicket, maxWaitMs: number): void {
  const { seconds } = estimate(store, ticket);
  const most = maxWaitMs / 1_000;
  if (seconds === null || seconds <= most) return;
  throw new VqdError(
    "queue_full",
    `the queue is too long: it would start in about ${Math.ceil(seconds)} s, but may wait ${most} s at most`,
    { retryable: true, retryAfterSeconds: Math.ceil(seconds - most) },
  );
}

/**
 * Work is measured in image steps: those remaining in running predictions plus those of predictions ahead, processed at the
 * recent pace by as many predictions in parallel as are running now.
 */
function estimate(store: PredictionStore, ticket: QueueTicket): { position: number; seconds: number | null } {
  const ahead = store.aheadOf(ticket);
  const running = store.running(ticket.version);
  const pace = store.secondsPerImageStep(ticket.version);
  const seconds =
    pace === null ? null : (pace * (ahead.imageSteps + running.imageSteps)) / (running.count || 1);
  return { position: ahead.count + 1, seconds };
}
