// Writes the diffusion state of one attempt, and finds out that another attempt has taken the job over.

import { setTimeout as delay } from "node:timers/promises";
import { JetStreamApiError, type JetStreamClient } from "@nats-io/jetstream";
import { encodeState } from "@vqd/shared/codec.ts";
import type { JobState } from "@vqd/shared/events.ts";
import { stateSubject } from "@vqd/shared/subjects.ts";
import type { StoredState } from "../nats/broker.ts";
import { raceAbort } from "../util/race-abort.ts";

const PUBLISH_TIMEOUT_MS = 2_000;
const RETRY_DELAY_MS = 250;
const WRONG_LAST_SEQUENCE = 10_071;

export interface StateWriterOptions {
  readonly js: JetStreamClient;
  readonly predictionId: string;
  /** The newest state there is. */
  readonly read: () => Promise<StoredState | undefined>;
  /** Sequence in the stream of the state that this attempt begins with; 0 for none. */
  readonly sequence: number;
  /** Ends the retries of writes that are not given another. */
  readonly signal: AbortSignal;
}

/**
 * Each write says which one it comes after, and the server takes it only if that is so. So of two attempts at a job, which
 * may both believe to have it after the server was killed and has forgotten who had, only one can go on: the first to
 * write ends the other. A delivery's acknowledgement alone cannot tell them apart.
 */
export class StateWriter {
  readonly #options: StateWriterOptions;
  /** Tells this attempt's states from those of others, whatever their attempts' numbers. */
  readonly owner = crypto.randomUUID().slice(0, 8);
  #sequence: number;

  constructor(options: StateWriterOptions) {
    this.#options = options;
    this.#sequence = options.sequence;
  }

  /** Resolves to false when another attempt has written since, or when `signal` aborts. Never rejects. */
  async write(state: JobState, tokens: Uint16Array, signal = this.#options.signal): Promise<boolean> {
    const { js, predictionId } = this.#options;
    const frame = encodeState(state, tokens);
    while (!signal.aborted) {
      try {
        const ack = await js.publish(stateSubject(predictionId), frame, {
          timeout: PUBLISH_TIMEOUT_MS,
          expect: { lastSubjectSequence: this.#sequence },
        });
        this.#sequence = ack.seq;
        return true;
      } catch (error) {
        const isConflict = error instanceof JetStreamApiError && error.code === WRONG_LAST_SEQUENCE;
        if (isConflict && !(await this.#isOurs(signal))) return false;
        if (!isConflict) await delay(RETRY_DELAY_MS, undefined, { signal }).catch(() => {});
      }
    }
    return false;
  }

  /** Whether the newest state is one of this attempt, whose confirmation was lost; or there is none any more. */
  async #isOurs(signal: AbortSignal): Promise<boolean> {
    try {
      const newest = await raceAbort(this.#options.read(), signal);
      if (newest !== undefined && newest.value?.owner !== this.owner) return false;
      this.#sequence = newest?.sequence ?? 0;
    } catch {
      // Unknown for now: the write is tried again, and so is this.
      await delay(RETRY_DELAY_MS, undefined, { signal }).catch(() => {});
    }
    return true;
  }
}
