// A hub's result as data: errors lose their fields when they cross a Durable Object's RPC boundary.

import { type ErrorCode, type FieldError, VqdError } from "@vqd/shared/errors.ts";
import { QuotaRefusal, type QuotaState } from "./accounting/quota.ts";
import { RateRefusal, type RateState } from "./rate-state.ts";

/** A VqdError as data. */
export interface HubError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly retryAfterSeconds: number | null;
  readonly errors: readonly FieldError[];
  /** Only of a RateRefusal. */
  readonly rate: RateState | null;
  /** Only of a QuotaRefusal. */
  readonly quota: QuotaState | null;
}

export type HubResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: HubError };

export function toHubError(error: VqdError): HubError {
  const { code, message, retryable, errors } = error;
  const rate = error instanceof RateRefusal ? error.rate : null;
  const quota = error instanceof QuotaRefusal ? error.quota : null;
  const retryAfterSeconds = error.retryAfterSeconds ?? null;
  return { code, message, retryable, retryAfterSeconds, errors, rate, quota };
}

/** The value of a hub's result, or throws the hub's VqdError. */
export function unwrap<T>(result: HubResult<T>): T {
  if (result.ok) return result.value;
  const { code, message, retryable, retryAfterSeconds, errors, rate, quota } = result.error;
  if (rate !== null && (code === "rate_limited" || code === "too_many_live")) {
    throw new RateRefusal(code, message, retryAfterSeconds ?? 0, rate);
  }
  if (quota !== null) {
    throw new QuotaRefusal(message, quota, { retryable, retryAfterSeconds: retryAfterSeconds ?? 0 });
  }
  throw new VqdError(code, message, {
    retryable,
    errors,
    ...(retryAfterSeconds === null ? {} : { retryAfterSeconds }),
  });
}
