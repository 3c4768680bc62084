// Limits how many requests a hub holds open to follow predictions: event streams and waiting requests.

import { VqdError } from "@vqd/shared/errors.ts";

/** Maximum number per hub. */
const MAX_READERS = 2_000;
/** Largest share of them for the predictions of one owner, so that nobody can shut out the others. */
const OWNER_SHARE = 1 / 4;
/** How soon a retry makes sense. */
export const RETRY_SECONDS = 5;

export class ReaderSlots {
  readonly #max: number;
  #count = 0;
  /** Number of held requests by owner of the prediction. */
  readonly #byOwner = new Map<string, number>();

  constructor(max = MAX_READERS) {
    this.#max = max;
  }

  /** Number of held requests. */
  get count(): number {
    return this.#count;
  }

  hasRoom(owner: string): boolean {
    return this.#count < this.#max && (this.#byOwner.get(owner) ?? 0) < this.#max * OWNER_SHARE;
  }

  /** Takes a slot even if there is no room: call `hasRoom` first. Returns a function to release it, to be called once. */
  take(owner: string): () => void {
    this.#note(owner, 1);
    return () => this.#note(owner, -1);
  }

  /**
   * Runs `work` in a slot. Throws a VqdError (too_many_readers) if there is no room, unless it `continues` a request that
   * was already admitted.
   */
  async hold<T>(owner: string, continues: boolean, work: () => Promise<T>): Promise<T> {
    if (!continues && !this.hasRoom(owner)) {
      throw new VqdError("too_many_readers", "too many requests are waiting for predictions", {
        retryable: true,
        retryAfterSeconds: RETRY_SECONDS,
      });
    }
    const release = this.take(owner);
    try {
      return await work();
    } finally {
      release();
    }
  }

  #note(owner: string, change: 1 | -1): void {
    this.#count += change;
    const own = (this.#byOwner.get(owner) ?? 0) + change;
    if (own === 0) this.#byOwner.delete(owner);
    else this.#byOwner.set(owner, own);
  }
}
