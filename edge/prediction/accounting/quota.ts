// Monthly quotas of keys: what they limit, how far an owner is, and the error when one is exceeded.

import type { QuotaName } from "@vqd/shared/api-key.ts";
import { VqdError } from "@vqd/shared/errors.ts";

/** How far an owner is in a calendar month (UTC). */
export interface QuotaState {
  readonly name: QuotaName;
  readonly limit: number;
  /** By predictions that have ended. */
  readonly used: number;
  /** For predictions that have not; seconds are estimated. */
  readonly reserved: number;
  /** Unix time in ms: the first of the next month. */
  readonly resetsAt: number;
}

export const viewQuota = ({ name, limit, used, reserved, resetsAt }: QuotaState) => ({
  name,
  limit,
  used,
  reserved,
  resets_at: new Date(resetsAt).toISOString(),
});

/** Thrown for a prediction that exceeds a quota of its key. */
export class QuotaRefusal extends VqdError {
  readonly quota: QuotaState;

  constructor(
    message: string,
    quota: QuotaState,
    options: { retryable: boolean; retryAfterSeconds: number },
  ) {
    super("quota_exceeded", message, options);
    this.quota = quota;
  }
}
