// Decides whose running job makes room for another owner's.

import { LONGEST_TURN } from "../storage/queue/queue-store.ts";
import type { RunningJob, WaitingJob } from "../storage/queue/contention-store.ts";

/** Image-steps that a job makes at least before it may be interrupted, so that little of the work is starting and resuming. */
const SHORTEST_TURN = 8;

export interface Preemption {
  /** Undefined if the beneficiary is only put first in the workers' queue. */
  readonly victim: RunningJob | undefined;
  readonly beneficiary: WaitingJob;
  /** What would be served before the beneficiary although its owner has more running: to be taken out of the queue. */
  readonly recalled: readonly WaitingJob[];
}

export interface Contention {
  readonly running: readonly RunningJob[];
  /** What each owner has waiting longest, in the order of service. */
  readonly waiting: readonly WaitingJob[];
  /** All that is in the workers' queue. */
  readonly queued: readonly WaitingJob[];
  /** Jobs that have been asked for, and the waiting ones that each makes room for. */
  readonly asked: ReadonlyMap<string, string>;
  /** Waiting ones that have been put first. */
  readonly first: ReadonlySet<string>;
}

/**
 * The next job to interrupt, when all slots are taken: of an owner that has at least two more running than the owner of a waiting
 * one, or anyone's if that owner has none running. It must have had, since it was last started, as much work as the other one asks
 * for, or a turn's; so of two owners, each gets half, and what is interrupted goes on in between. Only an owner that has several
 * running, while the other has none, gives one up without that, and keeps the rest. What is nearly done is left alone, and so is
 * what has a higher priority. Where nobody can be interrupted, one of an owner without a running job is at least served next.
 */
export function nextPreemption({
  running,
  waiting,
  queued,
  asked,
  first,
}: Contention): Preemption | undefined {
  const beneficiaries = new Set(asked.values());
  const shares = new Map<string, number>();
  const share = (owner: string): number => shares.get(owner) ?? 0;
  const candidates = running.filter(({ id }) => !asked.has(id));
  for (const { owner } of [...candidates, ...waiting.filter(({ id }) => beneficiaries.has(id))]) {
    shares.set(owner, share(owner) + 1);
  }
  for (const beneficiary of waiting) {
    const { id, owner, rank, imageSteps, sequence } = beneficiary;
    if (beneficiaries.has(id)) continue;
    const turn = Math.min(Math.max(imageSteps, SHORTEST_TURN), LONGEST_TURN);
    const own = share(owner);
    const [victim] = candidates
      .filter((one) => one.yields && one.owner !== owner && one.rank >= rank)
      .filter((one) => own === 0 || share(one.owner) > own + 1)
      .filter(({ remaining }) => remaining > turn)
      .filter((one) => one.served >= turn || (own === 0 && share(one.owner) > 1))
      .toSorted(
        (a, b) =>
          Number(b.served >= turn) - Number(a.served >= turn) ||
          share(b.owner) - share(a.owner) ||
          b.remaining - a.remaining,
      );
    if (victim === undefined && (own > 0 || first.has(id))) continue;
    const recalled = queued.filter(
      (one) =>
        one.rank >= rank &&
        share(one.owner) > own &&
        !beneficiaries.has(one.id) &&
        one.sequence !== null &&
        (sequence === null || one.sequence < sequence),
    );
    if (victim !== undefined || recalled.length > 0) return { victim, beneficiary, recalled };
  }
  return undefined;
}
