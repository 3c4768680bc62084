// Delays between restarts: short at first, longer while a process keeps failing.

const FIRST_DELAY_MS = 250;
const MAX_DELAY_MS = 15_000;
/** A process that has run this long counts as healthy again. */
const HEALTHY_AFTER_MS = 10_000;

export class Backoff {
  readonly #now: () => number;
  #failures = 0;
  #startedAt: number | undefined;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** To be called when the process is ready. */
  started(): void {
    this.#startedAt = this.#now();
  }

  /** To be called when the process has ended: how long to wait before the next start, in ms. */
  next(): number {
    if (this.#startedAt !== undefined && this.#now() - this.#startedAt >= HEALTHY_AFTER_MS)
      this.#failures = 0;
    this.#startedAt = undefined;
    return Math.min(FIRST_DELAY_MS * 2 ** this.#failures++, MAX_DELAY_MS);
  }
}
