// Remembers what an owner has just been refused, so that asking for it over and over costs little.

import { VqdError } from "@vqd/shared/errors.ts";

/** Who asks again too early gets the answer after this, or when it makes sense to ask. */
const LONGEST_DELAY_MS = 1_000;
/** The same, where the hub has to be asked again: what it was refused for may end at any moment. */
const DELAY_MS = 250;
const UNCERTAIN: ReadonlySet<string> = new Set([
  "too_many_live",
  "storage_full",
  "quota_exceeded",
  "queue_full",
]);
const MOST_KNOWN = 10_000;

interface Refusal {
  readonly error: VqdError;
  readonly until: number;
}

export class Refusals {
  readonly #now: () => number;
  readonly #known = new Map<string, Refusal>();

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** Notes what a request was refused with, if it is for a limit. `what` names the owner and what it asked for. */
  note(what: string, error: unknown): void {
    if (!(error instanceof VqdError)) return;
    const isCertain = error.code === "rate_limited";
    if (!isCertain && !UNCERTAIN.has(error.code)) return;
    const ms = isCertain ? (error.retryAfterSeconds ?? 0) * 1_000 : DELAY_MS;
    if (this.#known.size >= MOST_KNOWN) this.#known.clear();
    this.#known.set(what, { error, until: this.#now() + ms });
  }

  /**
   * Resolves at once unless `what` has just been refused; then only after a while, since whoever waits for an answer sends less.
   * Throws the VqdError again if it is certain that the hub would do so.
   */
  async check(what: string): Promise<void> {
    const refusal = this.#known.get(what);
    if (refusal === undefined) return;
    const { error, until } = refusal;
    const left = until - this.#now();
    if (left <= 0) {
      this.#known.delete(what);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(left, LONGEST_DELAY_MS)));
    if (error.code === "rate_limited") throw error;
  }
}
