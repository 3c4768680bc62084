// Counts the predictions of a key: per minute and live at once. Exact, since an owner has a single hub.

import { type RateLimits, RateRefusal, type RateState } from "../../prediction/rate-state.ts";
import { msUntil, TokenBuckets, unitsOf } from "./token-buckets.ts";

/** How soon a retry makes sense when too many predictions are live. */
export const LIVE_RETRY_SECONDS = 5;

/**
 * Buckets of `perMinute` requests. Keys of one owner share a bucket if they have the same limit: a key with a low limit
 * neither drains the bucket of one with a high limit nor waits for it to refill.
 */
export class RateLimiter {
  readonly #buckets = new TokenBuckets();

  /** Counts a request with that many bytes of input. Throws a RateRefusal if it exceeds the limits; then it is not counted. */
  admit(keyName: string, live: number, limits: RateLimits, now: number, bytes = 0): RateState {
    const { perMinute } = limits;
    const size = { perMinute, capacity: perMinute };
    const bucket = this.#buckets.refilled(`${perMinute} ${keyName}`, size, now);
    const state = (): RateState => ({
      limit: perMinute,
      remaining: Math.max(0, Math.floor(bucket.tokens)),
      resetMs: Math.ceil(msUntil(perMinute, bucket, size)),
    });
    if (live >= limits.live) {
      const message = `${live} predictions are live, and the limit is ${limits.live}; wait for one to end, or cancel one`;
      throw new RateRefusal("too_many_live", message, LIVE_RETRY_SECONDS, state());
    }
    if (bucket.tokens < 1) {
      const seconds = Math.ceil(msUntil(1, bucket, size) / 1_000);
      const message = `the key is limited to ${perMinute} predictions per minute`;
      throw new RateRefusal("rate_limited", message, seconds, state());
    }
    bucket.tokens -= unitsOf(bytes);
    return state();
  }
}
