// Publishes what happens to one job, in order, each message confirmed by JetStream before the next is sent.

import { setTimeout as delay } from "node:timers/promises";
import type { JetStreamClient } from "@nats-io/jetstream";
import { encodeEvent, encodeState, encodeTokens } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import type { JobState, PredictionEvent } from "@vqd/shared/events.ts";
import type { Job } from "@vqd/shared/job.ts";
import { eventSubject, stateSubject } from "@vqd/shared/subjects.ts";
import { activeTraceparent, traceHeaders } from "./tracing.ts";

const PUBLISH_TIMEOUT_MS = 2_000;
const RETRY_DELAY_MS = 250;

/** An event without the fields that the publisher adds. */
type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
export type EventBody = DistributiveOmit<PredictionEvent, "v" | "attempt" | "at">;

export interface PublisherOptions {
  readonly js: JetStreamClient;
  readonly job: Pick<Job, "id" | "shard">;
  readonly attempt: number;
  readonly numericsId: string;
  /** Largest message the server takes, in bytes. */
  readonly maxPayload: () => number;
  /** Ends the retries: nothing is published for a job that is no longer ours. */
  readonly signal: AbortSignal;
}

/**
 * The event stream of one attempt. `publish` and `saveState` return at once, so that the next step can be
 * computed while the last one is on its way; `flush` waits until all is confirmed. A message that fails is
 * sent again under the same message id until it is confirmed or the signal aborts, so events arrive
 * exactly once and in order. A state that a newer one overtakes in the queue is not sent at all.
 */
export class JobPublisher {
  readonly #options: PublisherOptions;
  // Tells this run's messages from those of an earlier one that had the same attempt number because the
  // server lost its delivery count in a crash.
  readonly #nonce = crypto.randomUUID().slice(0, 8);
  /** Of the job's span: steps are reported from the engine's loop, which is in nobody's. */
  readonly #traceparent = activeTraceparent();
  #tail: Promise<void> = Promise.resolve();
  #sequence = 0;
  #newestState: { state: JobState; tokens: Uint16Array } | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Queues one event; `attachment` as events.ts says for its type. */
  publish(body: EventBody, attachment?: Uint8Array): void {
    const { job, attempt, maxPayload } = this.#options;
    const event = { v: 1, attempt, at: Date.now(), ...body } as PredictionEvent;
    const frame = encodeEvent(event, attachment);
    if (frame.length > maxPayload()) {
      throw new VqdError(
        "output_too_large",
        `an ${body.type} event of ${frame.length} bytes exceeds the broker's limit of ${maxPayload()} bytes`,
      );
    }
    const subject = eventSubject(job.shard, job.id);
    this.#enqueue(() =>
      this.#send(subject, frame, `${job.id}:${attempt}:${this.#nonce}:${this.#sequence++}`),
    );
  }

  /** Queues the step event and then the state: a state is never ahead of what readers have been shown. */
  publishStep(body: Extract<EventBody, { type: "step" }>, tokens: Uint16Array): void {
    this.publish(body, encodeTokens(tokens));
    const { job, attempt, numericsId } = this.#options;
    const state: JobState = { v: 1, attempt, numericsId, step: body.step, images: body.images };
    this.#newestState = { state, tokens };
    this.#enqueue(async () => {
      const newest = this.#newestState;
      if (newest === undefined || newest.state !== state) return;
      await this.#send(stateSubject(job.id), encodeState(newest.state, newest.tokens));
    });
  }

  /** Resolves when all that was queued is confirmed; rejects with the signal's reason when it aborts. */
  async flush(): Promise<void> {
    await this.#tail;
    this.#options.signal.throwIfAborted();
  }

  #enqueue(send: () => Promise<void>): void {
    this.#tail = this.#tail.then(send);
  }

  /** Never rejects: it gives up only when the signal aborts, which `flush` reports. */
  async #send(subject: string, frame: Uint8Array, msgID?: string): Promise<void> {
    const { js, signal } = this.#options;
    const traceparent = this.#traceparent;
    while (!signal.aborted) {
      try {
        await js.publish(subject, frame, {
          timeout: PUBLISH_TIMEOUT_MS,
          ...(msgID === undefined ? {} : { msgID }),
          ...(traceparent === undefined ? {} : { headers: traceHeaders(traceparent) }),
        });
        return;
      } catch {
        await delay(RETRY_DELAY_MS, undefined, { signal }).catch(() => {});
      }
    }
  }
}
