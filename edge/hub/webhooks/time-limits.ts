// How long a receiver may take to respond: less for one that has just hung.

/** For a receiver that has not hung recently, that has once, and that has again, in ms. */
const LIMITS_MS = [15_000, 5_000, 2_000] as const;
/** The longest that a receiver is ever given. */
export const MAX_LIMIT_MS: number = LIMITS_MS[0];
/** After this time without hanging, a receiver has the full time again: so a slow one gets it for its later retries. */
const FORGET_MS = 10 * 60_000;
const MAX_RECEIVERS = 10_000;

/**
 * The time limits of receivers, by owner and host: what hangs at one owner's path of a shared host shortens nobody else's time.
 * Kept in memory: a restarted hub gives everybody the full time.
 */
export class ReceiverTimeLimits {
  readonly #hung = new Map<string, { readonly times: number; readonly at: number }>();

  limitMs(owner: string, host: string, now: number): number {
    return LIMITS_MS[Math.min(this.#times(`${owner} ${host}`, now), LIMITS_MS.length - 1)] ?? MAX_LIMIT_MS;
  }

  /** Call with the outcome of each attempt. */
  note(owner: string, host: string, didHang: boolean, now: number): void {
    const key = `${owner} ${host}`;
    const times = this.#times(key, now);
    this.#hung.delete(key);
    if (!didHang) return;
    if (this.#hung.size >= MAX_RECEIVERS) this.#hung.clear();
    this.#hung.set(key, { times: times + 1, at: now });
  }

  #times(key: string, now: number): number {
    const known = this.#hung.get(key);
    return known === undefined || now - known.at > FORGET_MS ? 0 : known.times;
  }
}
