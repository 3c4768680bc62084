// The queues that a worker takes jobs from: one per model and priority, urgent ones first.

import { setTimeout as delay } from "node:timers/promises";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { type Broker, QueueMissingError } from "./broker.ts";
import type { Delivery } from "./delivery.ts";
import { pullOrder, type QueueName } from "./pull-order.ts";

/** How long a pull request waits at the server before it is renewed. */
const PULL_EXPIRES_MS = 10_000;
/** For a job that arrives just after a reconnect: shorter than any lease that a queue has. */
const LEASE_UNKNOWN_MS = 1_000;
/** nats-server 2.9 lets a no-wait request wait for the next job while other requests are waiting. */
const ANSWER_LIMIT_MS = 500;

/** A job as delivered, not decoded yet. */
export interface QueuedJob {
  readonly delivery: Delivery;
  readonly modelKey: string;
  /** How long a worker may be silent before the job goes to another one. */
  readonly leaseMs: number;
}

export interface JobQueueOptions {
  readonly broker: Pick<Broker, "leaseOf" | "pull" | "onReconnect">;
  readonly modelKeys: readonly string[];
  /** Whether one more job could be taken now, in addition to `arrived` others. */
  readonly hasRoom: (arrived: number) => boolean;
  readonly isLoaded: (modelKey: string) => boolean;
  readonly log: Logger;
}

const nameOf = ({ modelKey, priority }: QueueName): string => `${modelKey} ${priority}`;

/**
 * While jobs are queued, each `next` asks the queues one after the other, in the order of `pullOrder`. When all are
 * empty, one request per queue waits at the server. Several of them may then be answered at once: jobs for which there
 * is no room are handed back for other workers.
 */
export class JobQueue {
  readonly #options: JobQueueOptions;
  /** Queues at which a request is waiting, and which are therefore empty. */
  readonly #waiting = new Map<string, symbol>();
  /** Of models whose queues are known to exist. */
  readonly #leases = new Map<string, number>();
  readonly #arrived: QueuedJob[] = [];
  readonly #stopListening: () => void;
  #reconnected = Promise.withResolvers<"reconnected">();
  #turn = 0;
  #failure: unknown;
  #wake = (): void => {};

  constructor(options: JobQueueOptions) {
    this.#options = options;
    // A waiting request may have died silently with its server. If it has not, its answer is still received.
    this.#stopListening = options.broker.onReconnect(() => {
      this.#waiting.clear();
      // The credentials may be others than before.
      this.#leases.clear();
      this.#reconnected.resolve("reconnected");
      this.#reconnected = Promise.withResolvers<"reconnected">();
      this.#wake();
    });
  }

  /** The next job, or undefined when `stop` aborts. Rejects when the queues cannot be reached; call again later. */
  async next(stop: AbortSignal): Promise<QueuedJob | undefined> {
    const { broker, modelKeys, isLoaded } = this.#options;
    const onStop = (): void => this.#wake();
    stop.addEventListener("abort", onStop);
    try {
      while (!stop.aborted) {
        const arrived = this.#arrived.shift();
        if (arrived !== undefined) return arrived;
        const changed = new Promise<void>((resolve) => (this.#wake = resolve));
        const open = pullOrder(modelKeys, this.#turn, isLoaded).filter(
          (queue) => !this.#waiting.has(nameOf(queue)),
        );
        const missing = new Map<string, QueueMissingError>();
        for (const queue of open) {
          // One whose queues are gone must not keep those after it from being asked.
          if (missing.has(queue.modelKey)) continue;
          const delivery = await this.#ask(queue).catch((error: unknown) => {
            if (!(error instanceof QueueMissingError)) throw error;
            missing.set(queue.modelKey, error);
            return undefined;
          });
          if (delivery === undefined) continue;
          this.#turn++;
          return this.#queued(queue, delivery);
        }
        const [gone] = missing.values();
        if (gone !== undefined) throw gone;
        for (const queue of open) {
          if (this.#waiting.has(nameOf(queue))) continue;
          void this.#listen(queue, broker.pull(queue, PULL_EXPIRES_MS), true);
        }
        await changed;
        this.#throwFailure();
      }
      return undefined;
    } finally {
      stop.removeEventListener("abort", onStop);
    }
  }

  /** Hands back jobs that have arrived but can no longer be taken. */
  handBack(): void {
    for (const { delivery } of this.#arrived.splice(0)) delivery.nak();
  }

  /** From now on, jobs that still arrive are handed back. */
  close(): void {
    this.#stopListening();
    this.handBack();
  }

  #queued({ modelKey }: QueueName, delivery: Delivery): QueuedJob {
    return { delivery, modelKey, leaseMs: this.#leases.get(modelKey) ?? LEASE_UNKNOWN_MS };
  }

  #throwFailure(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  /** The queue's next job, or undefined if there is none now. */
  async #ask(queue: QueueName): Promise<Delivery | undefined> {
    const { broker } = this.#options;
    const { modelKey } = queue;
    const reconnected = this.#reconnected.promise;
    try {
      if (!this.#leases.has(modelKey)) {
        const asking = broker.leaseOf(modelKey);
        asking.catch(() => {});
        const lease = await Promise.race([asking, reconnected]);
        if (lease === "reconnected") return undefined;
        this.#leases.set(modelKey, lease);
      }
      const asked = broker.pull(queue);
      const answered = new AbortController();
      const limit = delay(ANSWER_LIMIT_MS, "late" as const, { signal: answered.signal });
      limit.catch(() => {});
      const answer = await Promise.race([asked, limit, reconnected]).finally(() => answered.abort());
      if (answer !== "late" && answer !== "reconnected") return answer;
      void this.#listen(queue, asked, answer === "late");
      return undefined;
    } catch (error) {
      // The consumer may be gone.
      this.#leases.delete(modelKey);
      throw error;
    }
  }

  /**
   * Awaits a request's answer, whatever happens in the meantime. If it `waits`, the queue is not asked again until
   * then. Never rejects.
   */
  async #listen(queue: QueueName, asked: Promise<Delivery | undefined>, waits: boolean): Promise<void> {
    const { hasRoom, log } = this.#options;
    const name = nameOf(queue);
    const id = Symbol(name);
    if (waits) this.#waiting.set(name, id);
    try {
      const delivery = await asked;
      if (delivery !== undefined && hasRoom(this.#arrived.length)) {
        this.#arrived.push(this.#queued(queue, delivery));
      } else {
        delivery?.nak();
      }
    } catch (error) {
      log.debug("a pull request failed", errorFields(error));
      // The failure of a request that a reconnect has superseded does not matter.
      if (this.#waiting.get(name) === id) this.#failure = error;
      this.#leases.delete(queue.modelKey);
    }
    if (this.#waiting.get(name) === id) this.#waiting.delete(name);
    this.#wake();
  }
}
