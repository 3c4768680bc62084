// An owner's limits, where a key stands, and the refusal beyond them.

import { VqdError } from "@vqd/shared/errors.ts";

export interface RateLimits {
  readonly perMinute: number;
  readonly live: number;
}

/** Where a key stands after a request. */
export interface RateState {
  readonly limit: number;
  readonly remaining: number;
  /** ms until all of the limit is there again. */
  readonly resetMs: number;
}

/** A request that is beyond its key's limits. */
export class RateRefusal extends VqdError {
  readonly rate: RateState;

  constructor(code: "rate_limited" | "too_many_live", message: string, seconds: number, rate: RateState) {
    super(code, message, { retryable: true, retryAfterSeconds: seconds });
    this.rate = rate;
  }
}
