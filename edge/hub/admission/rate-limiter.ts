// Counts the predictions of a key: per minute and live at once. Exact, since an owner has a single hub.

import { type RateLimits, RateRefusal, type RateState } from "../../prediction/rate-state.ts";

const WINDOW_MS = 60_000;
const MAX_BUCKETS = 10_000;
/** How soon a retry makes sense when too many predictions are live. */
const LIVE_RETRY_SECONDS = 5;

interface Bucket {
  tokens: number;
  at: number;
}

/**
 * Token buckets of `perMinute` requests, refilled evenly over a minute. Keys of one owner share a bucket if they have the
 * same limit: a key with a low limit neither drains the bucket of one with a high limit nor waits for it to refill. Kept in
 * memory: a restarted hub forgets, in the caller's favour, at most one minute's worth.
 */
export class RateLimiter {
  readonly #buckets = new Map<string, Bucket>();

  /** Counts a request. Throws a RateRefusal if it exceeds the limits; then it is not counted. */
  admit(keyName: string, live: number, limits: RateLimits, now: number): RateState {
    const { perMinute } = limits;
    const perMs = perMinute / WINDOW_MS;
    const bucket = this.#bucket(keyName, perMinute, now);
    bucket.tokens = Math.min(perMinute, bucket.tokens + (now - bucket.at) * perMs);
    bucket.at = now;
    const state = (): RateState => ({
      limit: perMinute,
      remaining: Math.floor(bucket.tokens),
      resetMs: Math.ceil((perMinute - bucket.tokens) / perMs),
    });
    if (live >= limits.live) {
      const message = `${live} predictions are live, and the limit is ${limits.live}; wait for one to end, or cancel one`;
      throw new RateRefusal("too_many_live", message, LIVE_RETRY_SECONDS, state());
    }
    if (bucket.tokens < 1) {
      const seconds = Math.ceil((1 - bucket.tokens) / perMs / 1_000);
      const message = `the key is limited to ${perMinute} predictions per minute`;
      throw new RateRefusal("rate_limited", message, seconds, state());
    }
    bucket.tokens -= 1;
    return state();
  }

  #bucket(keyName: string, perMinute: number, now: number): Bucket {
    const name = `${perMinute} ${keyName}`;
    const known = this.#buckets.get(name);
    if (known !== undefined) return known;
    if (this.#buckets.size >= MAX_BUCKETS) this.#buckets.clear();
    const bucket = { tokens: perMinute, at: now };
    this.#buckets.set(name, bucket);
    return bucket;
  }
}
