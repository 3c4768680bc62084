// The hub's alarm. An object has only one, so it is set to whatever is due first.

import { LIVE_INTERVAL_MS, type Retention, nextAlarm } from "./deadlines.ts";
import type { Archiver } from "./archive/archiver.ts";
import type { PredictionStore } from "./storage/store.ts";
import { soon } from "../util/soon.ts";

/** Shortest interval between two looks, while an alarm is set that will come soon anyway. */
const LOOK_MS = 100;

export class HubAlarm {
  readonly #ctx: DurableObjectState;
  readonly #store: PredictionStore;
  readonly #archiver: Pick<Archiver, "nextAt">;
  readonly #retention: Retention;
  /** When it will fire, as Unix time in ms; 0 if this instance has not set it. */
  #at = 0;
  #lookedAt = 0;
  readonly #armSoon = soon(LOOK_MS, () => this.#arm(Date.now()));

  constructor(
    ctx: DurableObjectState,
    store: PredictionStore,
    archiver: Pick<Archiver, "nextAt">,
    retention: Retention,
  ) {
    this.#ctx = ctx;
    this.#store = store;
    this.#archiver = archiver;
    this.#retention = retention;
  }

  /** Call when it has fired, before `arm`. */
  clear(): void {
    this.#at = 0;
  }

  /** Call whenever what is stored has changed. What is due is looked up ten times a second at most. */
  arm(): void {
    const now = Date.now();
    const isArmed = this.#at > now && this.#at <= now + LIVE_INTERVAL_MS;
    if (isArmed && now < this.#lookedAt + LOOK_MS) {
      this.#armSoon();
      return;
    }
    this.#arm(now);
  }

  #arm(now: number): void {
    this.#lookedAt = now;
    const at = nextAlarm(this.#store, this.#archiver, this.#retention, now);
    // An alarm that fires too early sets the next one. Moving it each time would cost a write to disk.
    if (at === null || (this.#at > now && this.#at <= at)) return;
    this.#at = at;
    this.#ctx.waitUntil(this.#ctx.storage.setAlarm(at));
  }
}
