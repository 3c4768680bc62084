// Lets owners take turns in an isolate, which computes one thing at a time: while there are several, each has one request in the
// works, and its others wait.
//
// Nothing here wakes anything: in Workers, a request must not resolve what another one waits for, and one whose client disconnects
// may end without a word. So whoever waits looks again by itself, less often the more there are before it.

import { VqdError } from "@vqd/shared/errors.ts";

/** Requests of an owner in the works at once, while there is no other. */
const MOST_ALONE = 32;
const MOST_AMONG_OTHERS = 1;
/** An owner counts for this long after its last request: between two of a client that sends one after the other. */
const PRESENT_MS = 2_000;
/** A request that takes longer is waiting for something. */
const LONGEST_MS = 250;
/** How soon the first in line looks again. */
const LOOK_MS = 5;
/** Further ones of an owner are refused, after a while: who waits for an answer sends less. */
const MOST_WAITING = 256;
const REFUSAL_DELAY_MS = 1_000;
const MOST_KNOWN = 1_000;

interface Owner {
  /** When each turn began. */
  readonly turns: Map<symbol, number>;
  /** Those that wait, in order of arrival, with when each looks again. */
  readonly waiting: Map<symbol, number>;
  /**
   * Among others, one whose requests wait takes as much time between two turns as in them, so that it never has more than half.
   * One that sends the next request after the answer to the last is not slowed down.
   */
  restsUntil: number;
}

interface Presence {
  readonly name: string;
  readonly at: number;
}

export class OwnerTurns {
  readonly #now: () => number;
  readonly #owners = new Map<string, Owner>();
  /** The two owners seen last, the latest first. */
  #present: Presence[] = [];

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /**
   * Resolves when it is the owner's turn, with a function that ends it. Call that when the work is done, or begins to wait for
   * something; again has no effect. Throws a VqdError (rate_limited) if too many of the owner's requests wait already.
   */
  async take(name: string): Promise<() => void> {
    this.#present = [{ name, at: this.#now() }, ...this.#others(name)].slice(0, 2);
    const known = this.#owners.get(name);
    const owner = known ?? { turns: new Map<symbol, number>(), waiting: new Map(), restsUntil: 0 };
    this.#owners.set(name, owner);
    const turn = Symbol(name);
    await this.#begin(name, owner, turn);
    return () => {
      const since = owner.turns.get(turn);
      if (since === undefined) return;
      const now = this.#now();
      owner.turns.delete(turn);
      if (owner.waiting.size > 0) owner.restsUntil = now + (now - since);
      this.#forget(now);
    };
  }

  /** Owners with nothing to do. */
  #forget(now: number): void {
    if (this.#owners.size < MOST_KNOWN) return;
    for (const [name, { turns, waiting, restsUntil }] of this.#owners) {
      if (turns.size === 0 && waiting.size === 0 && restsUntil <= now) this.#owners.delete(name);
    }
  }

  #others(name: string): Presence[] {
    return this.#present.filter((one) => one.name !== name);
  }

  async #begin(name: string, owner: Owner, turn: symbol): Promise<void> {
    for (;;) {
      const now = this.#now();
      // What has ended without a word.
      for (const [one, since] of owner.turns) if (now - since >= LONGEST_MS) owner.turns.delete(one);
      for (const [one, at] of owner.waiting) if (now - at >= LONGEST_MS) owner.waiting.delete(one);
      const isAlone = !this.#others(name).some(({ at }) => now - at < PRESENT_MS);
      const place = [...owner.waiting.keys()].indexOf(turn);
      const ahead = place < 0 ? owner.waiting.size : place;
      const isRested = isAlone || now >= owner.restsUntil;
      if (isRested && owner.turns.size + ahead < (isAlone ? MOST_ALONE : MOST_AMONG_OTHERS)) {
        owner.waiting.delete(turn);
        owner.turns.set(turn, now);
        return;
      }
      if (place < 0 && ahead >= MOST_WAITING) {
        await new Promise((resolve) => setTimeout(resolve, REFUSAL_DELAY_MS));
        throw new VqdError("rate_limited", `more than ${MOST_WAITING} of the owner's requests are waiting`, {
          retryable: true,
          retryAfterSeconds: 1,
        });
      }
      const ms = LOOK_MS * (ahead + 1);
      owner.waiting.set(turn, now + ms);
      await new Promise((resolve) => setTimeout(resolve, ms));
    }
  }
}
