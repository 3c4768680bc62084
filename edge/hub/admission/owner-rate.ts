// Limits what an owner may ask for per minute, where requests differ in size: each counts one, and one more per 16 KiB.

import { VqdError } from "@vqd/shared/errors.ts";
import { type BucketSize, msUntil, TokenBuckets, unitsOf } from "./token-buckets.ts";

/** The share of a minute's worth that may come all at once. */
const BURST = 1 / 6;

export class OwnerRate {
  readonly #what: string;
  readonly #size: BucketSize;
  readonly #buckets = new TokenBuckets();

  /** `what` is counted, in the plural. */
  constructor(perMinute: number, what: string) {
    this.#what = what;
    this.#size = { perMinute, capacity: Math.max(1, perMinute * BURST) };
  }

  /** Throws a VqdError (rate_limited) while the owner has used up what it may. */
  admit(owner: string, now = Date.now()): void {
    const bucket = this.#buckets.refilled(owner, this.#size, now);
    if (bucket.tokens >= 1) return;
    throw new VqdError(
      "rate_limited",
      `the key's owner is limited to ${this.#size.perMinute} ${this.#what} per minute; large requests count as several`,
      { retryable: true, retryAfterSeconds: Math.ceil(msUntil(1, bucket, this.#size) / 1_000) },
    );
  }

  /** Counts a request of that many bytes. */
  count(owner: string, bytes: number, now = Date.now()): void {
    this.#buckets.refilled(owner, this.#size, now).tokens -= unitsOf(bytes);
  }
}
