// Applies the messages of the events stream, those of each prediction in order: first their files, then what they change.

import { errorFields } from "@vqd/shared/log.ts";
import { type EventPlace, parseEventSubject } from "@vqd/shared/subjects.ts";
import { Effects, type EffectsOptions } from "./effects.ts";
import { Lanes } from "./lanes.ts";
import type { StreamCursor } from "../nats/cursor.ts";
import type { StreamMessage } from "../nats/follow.ts";
import type { ParkedEvents } from "../storage/parked-events.ts";

const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 10_000;

export interface EventApplierOptions extends EffectsOptions {
  readonly shard: number;
  readonly cursor: StreamCursor;
  readonly parked: ParkedEvents;
  /** Called when a message has taken effect: what it has changed may have yet to be written. */
  readonly onApplied: () => void;
}

/**
 * Applies events. An event that contradicts its prediction is rejected, and the prediction fails. If object storage does not
 * accept an event's image, the event and those that follow it are parked. Only a failure of SQLite is thrown: then nothing
 * has changed, and the event must be applied again.
 */
export class EventApplier {
  readonly #options: EventApplierOptions;
  readonly #lanes = new Lanes();
  readonly #effects: Effects;
  #isRetrying = false;
  #retryDelayMs = RETRY_MIN_MS;

  constructor(options: EventApplierOptions) {
    this.#options = options;
    this.#effects = new Effects(options, this.#lanes);
    if (options.parked.count > 0) this.#retrySoon();
  }

  /** Call in stream order. Resolves when the message has taken effect, or is parked; rejects only if SQLite fails. */
  async apply(message: StreamMessage): Promise<void> {
    const { shard, cursor, onApplied } = this.#options;
    const settle = (): void => cursor.advance(message.sequence);
    const place = parseEventSubject(message.subject);
    if (place?.shard === shard) {
      const { length } = message.data;
      await this.#lanes.run(place.predictionId, length, () => this.#applyNext(place, message, settle));
    } else {
      this.#effects.ignoreMisplaced();
      settle();
    }
    onApplied();
  }

  /** Resolves when there is room for another message, if there is none. */
  room(): Promise<void> | undefined {
    return this.#lanes.room();
  }

  async #applyNext(place: EventPlace, message: StreamMessage, settle: () => void): Promise<void> {
    const { store, parked } = this.#options;
    const id = place.predictionId;
    if (!parked.has(id) && (await this.#effects.take(place, message, settle))) return;
    store.atomically(() => {
      parked.add(id, message);
      settle();
    });
    this.#retrySoon();
  }

  #retrySoon(): void {
    if (this.#isRetrying) return;
    this.#isRetrying = true;
    setTimeout(() => {
      void this.#retry().finally(() => {
        this.#isRetrying = false;
        if (this.#options.parked.count > 0) this.#retrySoon();
        else this.#retryDelayMs = RETRY_MIN_MS;
      });
    }, this.#retryDelayMs);
  }

  /** Applies parked events, as far as object storage accepts their images. Never rejects. */
  async #retry(): Promise<void> {
    this.#retryDelayMs = Math.min(2 * this.#retryDelayMs, RETRY_MAX_MS);
    await Promise.all(this.#options.parked.ids().map((id) => this.#retryOf(id)));
  }

  async #retryOf(id: string): Promise<void> {
    const { store, parked, log, onApplied } = this.#options;
    try {
      for (let next = parked.first(id); next !== undefined; next = parked.first(id)) {
        const { sequence } = next;
        const place = parseEventSubject(next.subject);
        const settle = (): void => {
          // It is no longer in the stream's part that would be read again.
          store.events.flush(id);
          parked.remove(id, sequence);
        };
        if (place === undefined) settle();
        else if (!(await this.#effects.take(place, next, settle))) break;
        onApplied();
        this.#retryDelayMs = RETRY_MIN_MS;
      }
    } catch (error) {
      log.error("cannot apply a parked event", { prediction: id, ...errorFields(error) });
    }
  }

  /** Fails a prediction whose steps SQLite does not take. Throws if it takes nothing; then nothing has changed. */
  failUnwritable(id: string, error: unknown): void {
    this.#effects.failUnwritable(id, error);
  }
}
