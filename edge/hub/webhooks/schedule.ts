// When a webhook is tried again, by what its receiver has answered.

/** What came of one attempt; `status` is null where no answer came. */
export interface AttemptOutcome {
  readonly status: number | null;
  readonly error: string | null;
  /** ms that the receiver asked to be left alone for, by Retry-After. */
  readonly retryAfterMs: number | null;
}

export type NextStep = { readonly state: "delivered" | "failed" | "disabled" } | { readonly retryAt: number };

const GONE = 410;
/** Retries that were due at once after an outage are spread over this share of their delay. */
const JITTER = 0.1;
const MAX_RETRY_AFTER_MS = 24 * 60 * 60 * 1_000;

/**
 * `tries` attempts have been made, the last with `outcome`. Attempt i + 1 follows `delaysMs[i]` after attempt i,
 * later if the receiver asks for it; there are no more attempts than delays.
 */
export function nextStep(
  outcome: AttemptOutcome,
  {
    tries,
    delaysMs,
    now,
    random,
  }: { tries: number; delaysMs: readonly number[]; now: number; random: number },
): NextStep {
  const { status, retryAfterMs } = outcome;
  if (status !== null && status >= 200 && status < 300) return { state: "delivered" };
  if (status === GONE) return { state: "disabled" };
  const delay = delaysMs[tries];
  if (delay === undefined) return { state: "failed" };
  const jittered = delay * (1 + JITTER * random);
  return { retryAt: now + Math.max(jittered, Math.min(retryAfterMs ?? 0, MAX_RETRY_AFTER_MS)) };
}

/** ms of a Retry-After header (seconds or an HTTP date); null if there is none that can be read. */
export function parseRetryAfter(header: string | null, now: number): number | null {
  if (header === null) return null;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1_000;
  // Date.parse alone would find a date in nearly anything.
  const at = /^\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(header)
    ? Date.parse(header)
    : Number.NaN;
  return Number.isNaN(at) ? null : Math.max(0, at - now);
}
