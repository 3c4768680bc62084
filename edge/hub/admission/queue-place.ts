// How long a prediction has to wait: those before it, and what recent ones took.

import { VqdError } from "@vqd/shared/errors.ts";
import type { QueuePlace } from "../../prediction/records.ts";
import type { PredictionRow } from "../storage/prediction-row.ts";
import type { PredictionStore, QueueTicket } from "../storage/store.ts";

/**
 * The place of a prediction that has not started; null for others. It knows the predictions of its own hub only:
 * with several hubs there may be others in the queue.
 */
export function queuePlace(store: PredictionStore, row: PredictionRow): QueuePlace | null {
  if (row.status !== "starting") return null;
  const { position, seconds } = estimate(store, row);
  return { position, etaSeconds: seconds === null ? null : Math.ceil(seconds) };
}

/**
 * Refuses what would wait too long: it would only fail later, when its caller has waited for nothing. Throws a VqdError
 * (queue_full) that says when to come back. While nothing is known of the model's pace all are admitted.
 */
export function admitToQueue(store: PredictionStore, ticket: QueueTicket, maxWaitMs: number): void {
  const { seconds } = estimate(store, ticket);
  const most = maxWaitMs / 1_000;
  if (seconds === null || seconds <= most) return;
  throw new VqdError(
    "queue_full",
    `the queue is long: about ${Math.ceil(seconds)} s to its start, and ${most} s are allowed`,
    { retryable: true, retryAfterSeconds: Math.ceil(seconds - most) },
  );
}

/**
 * The time is reckoned in image steps, the unit of work: those left of running predictions and those of predictions
 * ahead, at the pace of recent ones, of which as many run side by side as do now.
 */
function estimate(store: PredictionStore, ticket: QueueTicket): { position: number; seconds: number | null } {
  const ahead = store.aheadOf(ticket);
  const running = store.running(ticket.version);
  const pace = store.secondsPerImageStep(ticket.version);
  const seconds =
    pace === null ? null : (pace * (ahead.imageSteps + running.imageSteps)) / (running.count || 1);
  return { position: ahead.count + 1, seconds };
}
