// Writes what has taken effect without being written, after a second at the latest: steps, and the place in the events stream.

import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { StreamCursor } from "../../nats/cursor.ts";
import type { PredictionStore } from "../store.ts";
import { soon } from "../../../util/soon.ts";

/** A hub that dies reads so much of the stream again. */
const WRITE_MS = 1_000;

export interface WriteBehindOptions {
  readonly store: PredictionStore;
  readonly cursor: StreamCursor;
  readonly log: Logger;
  /** Called for a prediction whose steps cannot be written. Throws if nothing can. */
  readonly onUnwritable: (id: string, error: unknown) => void;
}

export class WriteBehind {
  readonly #options: WriteBehindOptions;
  readonly #writeSoon = soon(WRITE_MS, () => this.#write());

  constructor(options: WriteBehindOptions) {
    this.#options = options;
  }

  /** Call when something has taken effect. */
  note(): void {
    if (this.#options.store.events.isFull) this.#write();
    this.#writeSoon();
  }

  #write(): void {
    const { store, cursor, log, onUnwritable } = this.#options;
    try {
      for (const id of store.events.unwritten()) {
        try {
          store.events.flush(id);
        } catch (error) {
          onUnwritable(id, error);
        }
      }
      cursor.save();
    } catch (error) {
      log.error("cannot write steps yet", errorFields(error));
      this.#writeSoon();
    }
  }
}
