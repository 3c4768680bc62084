// The hub's one alarm, set for whatever is due first.

import { type Retention, nextAlarm } from "./deadlines.ts";
import type { PredictionStore } from "./storage/store.ts";

export class HubAlarm {
  readonly #ctx: DurableObjectState;
  readonly #store: PredictionStore;
  readonly #retention: Retention;
  /** When it comes, as Unix time in ms, as far as this instance has set it; 0 for not. */
  #at = 0;

  constructor(ctx: DurableObjectState, store: PredictionStore, retention: Retention) {
    this.#ctx = ctx;
    this.#store = store;
    this.#retention = retention;
  }

  /** Call when it has come, before `arm`. */
  clear(): void {
    this.#at = 0;
  }

  /** Call after every change of what is stored. */
  arm(): void {
    const now = Date.now();
    const at = nextAlarm(this.#store, this.#retention, now);
    // One that comes too early sets the next; each new one would wait for the disk.
    if (at === null || (this.#at > now && this.#at <= at)) return;
    this.#at = at;
    this.#ctx.waitUntil(this.#ctx.storage.setAlarm(at));
  }
}
