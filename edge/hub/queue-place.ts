// How long a prediction still has to wait: those before it, and what recent ones took.

import type { QueuePlace } from "./records.ts";
import type { PredictionRow, PredictionStore } from "./store.ts";

/**
 * The place of a prediction that has not started; null for others. It knows the predictions of its own hub only:
 * with several hubs there may be others in the queue.
 *
 * The time is reckoned in image steps, the unit of work: those left of running predictions and those of predictions
 * ahead, at the pace of recent ones, of which as many run side by side as do now.
 */
export function queuePlace(store: PredictionStore, row: PredictionRow): QueuePlace | null {
  if (row.status !== "starting") return null;
  const ahead = store.aheadOf(row);
  const running = store.running(row.version);
  const pace = store.secondsPerImageStep(row.version);
  const seconds =
    pace === null ? null : (pace * (ahead.imageSteps + running.imageSteps)) / (running.count || 1);
  return {
    position: ahead.count + 1,
    etaSeconds: seconds === null ? null : Math.ceil(seconds),
  };
}
