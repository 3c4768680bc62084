// Writes the diffusion state of one attempt, and detects that another attempt has taken over the job.

import { setTimeout as delay } from "node:timers/promises";
import { JetStreamApiError, type JetStreamClient } from "@nats-io/jetstream";
import { encodeState } from "@vqd/shared/codec.ts";
import type { JobState } from "@vqd/shared/events.ts";
import type { StoredState } from "../nats/broker.ts";
import { raceAbort } from "../util/race-abort.ts";

const PUBLISH_TIMEOUT_MS = 2_000;
const RETRY_DELAY_MS = 250;
const WRONG_LAST_SEQUENCE = 10_071;

export interface StateWriterOptions {
  readonly js: JetStreamClient;
  /** The subject of the job's states. */
  readonly subject: string;
  /** Reads the latest state. */
  readonly read: () => Promise<StoredState | undefined>;
  /** Stream sequence of the state that this attempt starts from; 0 for none. */
  readonly sequence: number;
  /** Ends the retries of writes that are given no signal of their own. */
  readonly signal: AbortSignal;
}

/**
 * Each write names the state that it follows, and the server accepts it only if that is the latest. After the server
 * was killed and has forgotten who held a job, two attempts may both believe they hold it; only one can continue,
 * because the first to write wins, and the other stops. The acknowledgement of a delivery cannot tell them apart.
 */
export class StateWriter {
  readonly #options: StateWriterOptions;
  /** Distinguishes this attempt's states from those of others, whatever their attempt numbers. */
  readonly owner = crypto.randomUUID().slice(0, 8);
  #sequence: number;

  constructor(options: StateWriterOptions) {
    this.#options = options;
    this.#sequence = options.sequence;
  }

  /** Resolves to false when another attempt has written since, or when `signal` aborts. Never rejects. */
  async write(state: JobState, tokens: Uint16Array, signal = this.#options.signal): Promise<boolean> {
    const { js, subject } = this.#options;
    const frame = encodeState(state, tokens);
    while (!signal.aborted) {
      try {
        const ack = await js.publish(subject, frame, {
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

  /** Whether the latest state is one that this attempt wrote without receiving the confirmation, or none is left. */
  async #isOurs(signal: AbortSignal): Promise<boolean> {
    try {
      const latest = await raceAbort(this.#options.read(), signal);
      if (latest !== undefined && latest.value?.owner !== this.owner) return false;
      this.#sequence = latest?.sequence ?? 0;
    } catch {
      // Unknown for now: the write is retried, and so is this check.
      await delay(RETRY_DELAY_MS, undefined, { signal }).catch(() => {});
    }
    return true;
  }
}
