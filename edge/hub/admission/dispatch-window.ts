// How much of a model's work a hub hands to the workers' queue, which serves in order of arrival. The rest is held in fair order.

import { secondsFor } from "./pace.ts";
import type { QueueStore, ServiceClass } from "../storage/queue/queue-store.ts";

/** Work that waits in the workers' queue, by its estimated time: what a newcomer may have to wait behind. */
const AHEAD_SECONDS = 2;

/**
 * Whether one more job may be dispatched. One may always wait in the queue, so that no worker is ever idle. Further ones may
 * while they are few, `ahead` or as many as are running, and amount to little work. Capacity is not announced but observed: each
 * start makes room for another job, and what runs is what can run at once.
 */
export function mayDispatch(queue: QueueStore, of: ServiceClass, ahead: number): boolean {
  const waiting = queue.dispatched(of);
  if (waiting.count === 0) return true;
  const running = queue.running(of.version);
  if (waiting.count >= Math.max(ahead, running.count)) return false;
  const seconds = secondsFor(queue, of.version, waiting.imageSteps);
  return seconds === null || seconds < AHEAD_SECONDS;
}
