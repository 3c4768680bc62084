// Estimates how long a prediction will wait, from the work ahead of it and how long such work takes.

import { VqdError } from "@vqd/shared/errors.ts";
import { LIVE_RETRY_SECONDS } from "./rate-limiter.ts";
import { secondsFor } from "./pace.ts";
import type { QueuePlace } from "../../prediction/records.ts";
import type { PredictionRow } from "../storage/prediction-row.ts";
import type { Work } from "../storage/queue/backlog.ts";
import type { QueueTicket } from "../storage/queue/queue-store.ts";
import type { PredictionStore } from "../storage/store.ts";

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
 * Refuses a prediction of `imageSteps` that would wait too long, since it would only fail later, after its caller has waited for
 * nothing. Turns are fair between owners, so this refuses whoever has much waiting, and not a newcomer. For the same reason a
 * running prediction counts as no more work than this one: there may be a free slot beside it, which is known only once it is tried.
 * Throws a VqdError (queue_full) that says when to retry. While nothing is known of the model's pace everything is admitted.
 */
export function admitToQueue(
  store: PredictionStore,
  ticket: QueueTicket,
  imageSteps: number,
  maxWaitMs: number,
): void {
  const { seconds } = estimate(store, ticket, imageSteps);
  const most = maxWaitMs / 1_000;
  if (seconds === null || seconds <= most) return;
  throw new VqdError(
    "queue_full",
    `the queue is too long: the prediction would start in about ${Math.ceil(seconds)} s; the limit is ${most} s`,
    { retryable: true, retryAfterSeconds: Math.ceil(seconds - most) },
  );
}

/**
 * Refuses a prediction with which an owner would have more live work than it may; one alone is always admitted. Throws a VqdError
 * (too_many_live).
 */
export function admitWork(live: Work, imageSteps: number, limit: number): void {
  if (live.count === 0 || live.imageSteps + imageSteps <= limit) return;
  throw new VqdError(
    "too_many_live",
    `${live.imageSteps} image-steps are live, this has ${imageSteps}, and the limit is ${limit}; wait for a prediction to end, or cancel one`,
    { retryable: true, retryAfterSeconds: LIVE_RETRY_SECONDS },
  );
}

/**
 * Work is measured in image-steps: that of predictions ahead, plus what remains of running ones, of each no more than `most`.
 */
function estimate(
  { queue }: PredictionStore,
  ticket: QueueTicket,
  most?: number,
): { position: number; seconds: number | null } {
  const ahead = queue.aheadOf(ticket);
  const running = queue.running(ticket.version, most);
  const seconds = secondsFor(queue, ticket.version, ahead.imageSteps + running.imageSteps);
  return { position: ahead.count + 1, seconds };
}
