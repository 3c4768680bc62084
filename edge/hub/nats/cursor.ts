// Where the hub is in the events stream: kept in SQLite beside the effects of the events before it.

import type { PredictionStore } from "../storage/store.ts";

const SEQUENCE = "events.sequence";
const CREATED = "events.created";

export class StreamCursor {
  readonly #store: PredictionStore;

  constructor(store: PredictionStore) {
    this.#store = store;
  }

  /** Stream sequence of the last event that has taken effect; 0 before the first. */
  get sequence(): number {
    return Number(this.#store.meta(SEQUENCE) ?? 0);
  }

  /** Call within the transaction of the event's effect. */
  advance(sequence: number): void {
    this.#store.setMeta(SEQUENCE, String(sequence));
  }

  /**
   * Starts over if the stream is another one than before, or has lost its end in a crash: what is read again is
   * void by its attempt and step. Returns whether it had to.
   */
  reconcile(stream: { created: string; lastSequence: number }): boolean {
    const known = this.#store.meta(CREATED);
    if (known === stream.created && this.sequence <= stream.lastSequence) return false;
    this.#store.atomically(() => {
      this.#store.setMeta(CREATED, stream.created);
      this.advance(0);
    });
    return known !== undefined;
  }
}
