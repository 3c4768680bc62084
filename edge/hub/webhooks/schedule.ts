// Decides whether and when a webhook is retried, based on the receiver's response.

/** Outcome of an attempt; `status` is null if there was no response. */
export interface AttemptOutcome {
  readonly status: number | null;
  readonly error: string | null;
  /** Delay that the receiver asked for with Retry-After, in ms. */
  readonly retryAfterMs: number | null;
}

export type NextStep = { readonly state: "delivered" | "failed" | "disabled" } | { readonly retryAt: number };

const GONE = 410;
/** Retries are delayed by a random share of up to this much, to spread them out after an outage. */
const JITTER = 0.1;
const MAX_RETRY_AFTER_MS = 24 * 60 * 60 * 1_000;

/**
 * What to do after `tries` attempts, the last with `outcome`. Attempt i + 1 follows `delaysMs[i]` after attempt i, or later if
 * the receiver asks for it; there are as many attempts as delays.
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

/** Delay of a Retry-After header (seconds or an HTTP date) in ms; null if it is missing or malformed. */
export function parseRetryAfter(header: string | null, now: number): number | null {
  if (header === null) return null;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1_000;
  // Date.parse alone would accept almost anything as a date.
  const at = /^\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(header)
    ? Date.parse(header)
    : Number.NaN;
  return Number.isNaN(at) ? null : Math.max(0, at - now);
}
