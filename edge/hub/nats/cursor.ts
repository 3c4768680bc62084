// The hub's position in the events stream, stored in SQLite together with the effects of the events up to it.

import type { PredictionStore } from "../storage/store.ts";

const SEQUENCE = "events.sequence";
const CREATED = "events.created";

export class StreamCursor {
  readonly #store: PredictionStore;

  constructor(store: PredictionStore) {
    this.#store = store;
  }

  /** Stream sequence of the last event applied; 0 before the first. */
  get sequence(): number {
    return Number(this.#store.meta(SEQUENCE) ?? 0);
  }

  /** Call in the transaction that applies the event. The cursor never goes back, even if a closed session is late. */
  advance(sequence: number): void {
    this.#store.setMeta(SEQUENCE, String(Math.max(sequence, this.sequence)));
  }

  /**
   * Starts over if the stream was replaced, or lost its end in a crash. Events read a second time have no effect, because of
   * their attempt and step. Returns whether a known stream was replaced or cut.
   */
  reconcile(stream: { created: string; lastSequence: number }): boolean {
    const known = this.#store.meta(CREATED);
    if (known === stream.created && this.sequence <= stream.lastSequence) return false;
    this.#store.atomically(() => {
      this.#store.setMeta(CREATED, stream.created);
      this.#store.setMeta(SEQUENCE, "0");
    });
    return known !== undefined;
  }
}
