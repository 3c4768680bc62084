// Writes to a job's fence, a subject on which each message names the one before it; detects that another attempt has taken over.

import { setTimeout as delay } from "node:timers/promises";
import { JetStreamApiError, type JetStreamClient } from "@nats-io/jetstream";
import { SEQUENCE_CONFLICTS } from "@vqd/shared/nats/jetstream-codes.ts";
import type { MsgHdrs } from "nats";
import type { StoredState } from "../nats/broker.ts";
import { raceAbort } from "../util/race-abort.ts";

const PUBLISH_TIMEOUT_MS = 2_000;
const RETRY_DELAY_MS = 250;

export interface FenceOptions {
  readonly js: JetStreamClient;
  readonly subject: string;
  /** Reads the latest message. */
  readonly read: () => Promise<StoredState | undefined>;
  /** Stream sequence of the message that this attempt starts from; 0 for none. */
  readonly sequence: number;
  /** Ends the retries of writes that are given no signal of their own. */
  readonly signal: AbortSignal;
  /** Of every message. */
  readonly headers?: MsgHdrs | undefined;
}

/**
 * Each write names the message that it follows, and the server accepts it only if that is the latest. After the server
 * was killed and has forgotten who held a job, two attempts may both believe they hold it; only one can continue,
 * because the first to write wins, and the other stops. The acknowledgement of a delivery cannot tell them apart.
 */
export class Fence {
  readonly #options: FenceOptions;
  /** Distinguishes this attempt's messages from those of others, whatever their attempt numbers. */
  readonly owner = crypto.randomUUID().slice(0, 8);
  #sequence: number;

  constructor(options: FenceOptions) {
    this.#options = options;
    this.#sequence = options.sequence;
  }

  /**
   * Resolves to false when another attempt has written since, or when `signal` aborts. Never rejects. `n` is this attempt's number
   * of the message, if it has one: one whose confirmation was lost is then not written twice.
   */
  async write(frame: Uint8Array, signal = this.#options.signal, n?: number): Promise<boolean> {
    const { js, subject, headers } = this.#options;
    while (!signal.aborted) {
      try {
        const ack = await js.publish(subject, frame, {
          timeout: PUBLISH_TIMEOUT_MS,
          expect: { lastSubjectSequence: this.#sequence },
          ...(headers === undefined ? {} : { headers }),
        });
        this.#sequence = ack.seq;
        return true;
      } catch (error) {
        const isConflict = error instanceof JetStreamApiError && SEQUENCE_CONFLICTS.has(error.code);
        if (!isConflict) {
          await delay(RETRY_DELAY_MS, undefined, { signal }).catch(() => {});
          continue;
        }
        const latest = await this.#latest(signal);
        if (latest === "other") return false;
        if (n !== undefined && latest === n) return true;
      }
    }
    return false;
  }

  /**
   * The number of the latest message, if it is one that this attempt wrote without receiving the confirmation: then, or if none is
   * left, the next write follows it. "other" if another attempt has written it.
   */
  async #latest(signal: AbortSignal): Promise<number | "other" | undefined> {
    try {
      const latest = await raceAbort(this.#options.read(), signal);
      if (latest !== undefined && latest.value?.owner !== this.owner) return "other";
      this.#sequence = latest?.sequence ?? 0;
      return latest?.n;
    } catch {
      // Unknown for now: the write is retried, and so is this check.
      await delay(RETRY_DELAY_MS, undefined, { signal }).catch(() => {});
      return undefined;
    }
  }
}
