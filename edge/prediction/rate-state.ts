// Rate limits: the limits themselves, a key's current state, and the error when they are exceeded.

import { VqdError } from "@vqd/shared/errors.ts";

export interface RateLimits {
  readonly perMinute: number;
  readonly live: number;
}

/** State of a key's limit after a request. */
export interface RateState {
  readonly limit: number;
  readonly remaining: number;
  /** ms until the full limit is available again. */
  readonly resetMs: number;
}

/** Thrown for a request that exceeds its key's limits. */
export class RateRefusal extends VqdError {
  readonly rate: RateState;

  constructor(code: "rate_limited" | "too_many_live", message: string, seconds: number, rate: RateState) {
    super(code, message, { retryable: true, retryAfterSeconds: seconds });
    this.rate = rate;
  }
}
