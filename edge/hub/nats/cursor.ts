// The hub's position in the events stream. What is stored may lie behind what has taken effect: events that are read a second time
// have no effect, because of their attempt and step.

import type { PredictionStore } from "../storage/store.ts";

const SEQUENCE = "events.sequence";
const CREATED = "events.created";

export class StreamCursor {
  readonly #store: PredictionStore;
  /** Stream sequence of the last message taken. */
  #taken: number;
  #stored: number;
  /** Messages that have been taken, and have yet to take effect: their images are being stored. */
  readonly #underWay = new Set<number>();

  constructor(store: PredictionStore) {
    this.#store = store;
    this.#stored = Number(store.meta(SEQUENCE) ?? 0);
    this.#taken = this.#stored;
  }

  /** Stream sequence before which every message has taken effect; 0 before the first. */
  get sequence(): number {
    let first = this.#taken + 1;
    for (const sequence of this.#underWay) first = Math.min(first, sequence);
    return first - 1;
  }

  /** Whether a message has been taken, so that it need not be taken again. */
  has(sequence: number): boolean {
    return sequence <= this.#taken;
  }

  /** Whether a message has been taken, and has yet to take effect. */
  isUnderWay(sequence: number): boolean {
    return this.#underWay.has(sequence);
  }

  /** Call before a message is applied. */
  take(sequence: number): void {
    this.#taken = Math.max(this.#taken, sequence);
    this.#underWay.add(sequence);
  }

  /** Call once a message has taken effect. */
  advance(sequence: number): void {
    this.#taken = Math.max(this.#taken, sequence);
    this.#underWay.delete(sequence);
  }

  /** Call when a message could not be applied: it and those after it are to be taken again. */
  rewind(sequence: number): void {
    this.#taken = Math.min(this.#taken, sequence - 1);
    this.#underWay.delete(sequence);
  }

  /** Call in the transaction that writes what has taken effect. */
  save(): void {
    const { sequence } = this;
    if (sequence === this.#stored) return;
    this.#store.setMeta(SEQUENCE, String(sequence));
    this.#stored = sequence;
  }

  /** Starts over if the stream was replaced, or lost its end in a crash. Returns whether a known stream was replaced or cut. */
  reconcile(stream: { created: string; lastSequence: number }): boolean {
    const known = this.#store.meta(CREATED);
    // What was taken beyond its end will come again under other numbers, or others under the same.
    if (known === stream.created && this.#taken <= stream.lastSequence) return false;
    this.#store.atomically(() => {
      this.#store.setMeta(CREATED, stream.created);
      this.#store.setMeta(SEQUENCE, "0");
    });
    this.#stored = 0;
    this.#taken = 0;
    this.#underWay.clear();
    return known !== undefined;
  }
}
