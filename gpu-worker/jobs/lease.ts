// A worker's claim to a job: extended while it works, lost if it stays silent for longer than the lease.

import type { Delivery } from "../nats/delivery.ts";

/** Extensions per lease period, so that two in a row may be missed. */
const EXTENSIONS_PER_LEASE = 3;

/** The abort reason of `signal` once the lease is lost: the job may already be running elsewhere. */
export class LeaseLostError extends Error {
  override readonly name = "LeaseLostError";
  constructor() {
    super("the job's lease was lost");
  }
}

/**
 * Extends the JetStream delivery of one job until it is settled. The server redelivers after `leaseMs` without an
 * extension. This side keeps the same time and stops working, and above all stops acknowledging, once it may have been
 * silent that long (the process was suspended, or NATS was unreachable): a late acknowledgement would remove the
 * message from under the worker that now holds it.
 */
export class Lease {
  readonly #delivery: Pick<Delivery, "working" | "nak" | "ack">;
  readonly #leaseMs: number;
  readonly #isConnected: () => boolean;
  readonly #now: () => number;
  readonly #lost = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #extendedAt: number;

  /** `isConnected` tells whether a message sent now would reach the server; `now` is a monotonic clock, in ms. */
  constructor(
    delivery: Pick<Delivery, "working" | "nak" | "ack">,
    leaseMs: number,
    isConnected: () => boolean,
    now: () => number = () => performance.now(),
  ) {
    this.#delivery = delivery;
    this.#leaseMs = leaseMs;
    this.#isConnected = isConnected;
    this.#now = now;
    this.#extendedAt = now();
    this.#timer = setInterval(() => this.extend(), leaseMs / EXTENSIONS_PER_LEASE);
  }

  /** Aborted with a `LeaseLostError` when the lease is lost. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** Gives up a job that another worker has taken over: nothing more is sent for it. */
  lose(): void {
    this.abandon();
    this.#lost.abort(new LeaseLostError());
  }

  /** Acknowledges the job as done. False if the lease is lost or the server did not confirm. */
  async complete(): Promise<boolean> {
    if (!this.#settle()) return false;
    return this.#delivery.ack();
  }

  /** Hands the job back to the queue, to be delivered again after `delayMs`. */
  handBack(delayMs = 0): void {
    if (this.#settle()) this.#delivery.nak(delayMs);
  }

  /** Stops extending without telling the server; the job is redelivered when the lease expires. */
  abandon(): void {
    clearInterval(this.#timer);
  }

  #settle(): boolean {
    this.abandon();
    this.#checkClock();
    return !this.#lost.signal.aborted;
  }

  /** Extends the lease right away: a server that was restarted may have forgotten that the job is being worked on. */
  extend(): void {
    this.#checkClock();
    if (this.#lost.signal.aborted || !this.#isConnected()) return;
    this.#delivery.working();
    this.#extendedAt = this.#now();
  }

  #checkClock(): void {
    if (this.#lost.signal.aborted || this.#now() - this.#extendedAt < this.#leaseMs) return;
    this.lose();
  }
}
