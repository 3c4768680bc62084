// Publishes the events and states of one job in order, each confirmed by JetStream before the next is sent.

import { setTimeout as delay } from "node:timers/promises";
import type { JetStreamClient } from "@nats-io/jetstream";
import { encodeEvent, encodeTokens } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import type { JobState, PredictionEvent } from "@vqd/shared/events.ts";
import type { StateWriter } from "./state-writer.ts";
import { activeTraceparent, traceHeaders } from "../telemetry/tracing.ts";

const PUBLISH_TIMEOUT_MS = 2_000;
const RETRY_DELAY_MS = 250;

/** An event without the fields that the publisher adds. */
type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
export type EventBody = DistributiveOmit<PredictionEvent, "v" | "attempt" | "at">;

export interface PublisherOptions {
  readonly js: JetStreamClient;
  /** The subject of the job's events. */
  readonly subject: string;
  readonly predictionId: string;
  readonly attempt: number;
  readonly numericsId: string;
  /** Earlier attempts that have begun since the last step was completed. */
  readonly startsBefore: number;
  /** All earlier attempts. */
  readonly claimsBefore: number;
  /** The state is stored whenever this many steps have been made, and after the last. */
  readonly stateEvery: number;
  readonly states: StateWriter;
  /** Called when another attempt has taken over the job. */
  readonly onReplaced: () => void;
  /** Largest message that the server accepts, in bytes. */
  readonly maxPayload: () => number;
  /** Ends the retries: nothing is published for a job that this worker no longer holds. */
  readonly signal: AbortSignal;
}

/** A state to continue from. */
export interface ResumePoint {
  /** Steps done. */
  readonly step: number;
  /** Class ids of all images, one after the other. */
  readonly tokens: Uint16Array;
}

interface Snapshot {
  readonly state: JobState;
  readonly tokens: Uint16Array;
}

const NO_TOKENS = new Uint16Array(0);

/** What the caller of a prediction can do about a message of `size` bytes, where `limit` are allowed. */
function tooLarge(body: EventBody, size: number, limit: number): string {
  const message = `the ${body.type} of ${size} bytes does not fit into a message of at most ${limit} bytes`;
  if (body.type !== "output" && body.type !== "preview") return message;
  const remedy =
    body.format === "png"
      ? "the output formats webp and jpeg are far smaller than png"
      : "a lower quality or a smaller size takes fewer";
  return `${message}; ${remedy}`;
}

/**
 * The event stream of one attempt. All methods but `claim`, `flush` and `finish` return immediately, so that the next
 * step can be computed while the last one is being published; `flush` waits until everything is confirmed. A message
 * that fails is resent under the same message id until it is confirmed or the signal aborts, so events arrive exactly
 * once and in order.
 */
export class JobPublisher {
  readonly #options: PublisherOptions;
  /** Of the job's span, kept here because steps are reported from the engine's loop, which belongs to no span. */
  readonly #traceparent = activeTraceparent();
  #tail: Promise<void> = Promise.resolve();
  #sequence = 0;
  /** The job's current state. */
  #latest: Snapshot | undefined;
  /** The state queued last for storing. */
  #saved: Snapshot | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  get attempt(): number {
    return this.#options.attempt;
  }

  /** Queues one event, with the `attachment` that events.ts specifies for its type. */
  publish(body: EventBody, attachment?: Uint8Array): void {
    const { subject, predictionId, attempt, states, maxPayload } = this.#options;
    const event = { v: 1, attempt, at: Date.now(), ...body } as PredictionEvent;
    const frame = encodeEvent(event, attachment);
    if (frame.length > maxPayload()) {
      throw new VqdError("output_too_large", tooLarge(body, frame.length, maxPayload()));
    }
    this.#enqueue(() =>
      this.#send(subject, frame, `${predictionId}:${attempt}:${states.owner}:${this.#sequence++}`),
    );
  }

  /**
   * Claims the job: stores that an attempt begins from the state that an earlier one has left, so that the next attempt
   * knows of this one even if it dies silently. Nothing may be published before this. False if another attempt has
   * written in the meantime, or when `signal` aborts.
   */
  async claim(resume: ResumePoint | undefined, images: number, signal: AbortSignal): Promise<boolean> {
    const { states, startsBefore } = this.#options;
    const state = this.#state(resume?.step ?? 0, images, startsBefore + 1);
    this.#latest = { state, tokens: resume?.tokens ?? NO_TOKENS };
    this.#saved = this.#latest;
    return states.write(state, this.#latest.tokens, signal);
  }

  /** Queues the step event and then, if due, the state, so that a stored state is never ahead of what readers have seen. */
  publishStep(body: Extract<EventBody, { type: "step" }>, tokens: Uint16Array): void {
    this.publish(body, encodeTokens(tokens));
    this.#latest = { state: this.#state(body.step, body.images, 0), tokens };
    const saved = this.#saved?.state.step ?? 0;
    if (body.step - saved >= this.#options.stateEvery || body.step === body.total) this.saveState();
  }

  /** Stores that this attempt was given up through no fault of the job, so that it does not count. */
  withdraw(): void {
    const latest = this.#latest;
    if (latest === undefined) return;
    const { startsBefore, claimsBefore: claims } = this.#options;
    const starts = Math.min(latest.state.starts, startsBefore);
    this.#latest = { ...latest, state: { ...latest.state, starts, claims } };
    this.saveState();
  }

  /**
   * Gives the job back to its hub, which has asked for it: stores the state, and then says so. Rejects if another attempt has
   * taken over; then nothing is said.
   */
  async yield(predictSeconds: number): Promise<void> {
    this.withdraw();
    await this.flush();
    this.publish({ type: "yielded", step: this.#latest?.state.step ?? 0, predictSeconds });
    await this.finish();
  }

  /** Queues the current state for storing, unless that has been done. */
  saveState(): void {
    const snapshot = this.#latest;
    if (snapshot === undefined || snapshot === this.#saved) return;
    this.#saved = snapshot;
    this.#enqueue(async () => {
      // A state that a later one has overtaken is not sent at all.
      if (this.#saved !== snapshot) return;
      await this.#write(snapshot);
    });
  }

  /**
   * Call this before the job is acknowledged: resolves once everything is confirmed and no other attempt can have begun
   * before that. Rejects with the signal's reason if one has.
   */
  async finish(): Promise<void> {
    const latest = this.#latest;
    if (latest !== undefined) {
      this.#saved = latest;
      this.#enqueue(() => this.#write(latest));
    }
    await this.flush();
  }

  /** Resolves when everything queued so far is confirmed; rejects with the signal's reason when it aborts. */
  async flush(): Promise<void> {
    await this.#tail;
    this.#options.signal.throwIfAborted();
  }

  #state(step: number, images: number, starts: number): JobState {
    const { attempt, numericsId, claimsBefore, states } = this.#options;
    const claims = claimsBefore + 1;
    return { v: 1, attempt, numericsId, step, images, starts, claims, owner: states.owner };
  }

  #enqueue(send: () => Promise<void>): void {
    this.#tail = this.#tail.then(send);
  }

  async #write({ state, tokens }: Snapshot): Promise<void> {
    if (this.#options.signal.aborted) return;
    if (!(await this.#options.states.write(state, tokens))) this.#options.onReplaced();
  }

  /** Never rejects: gives up only when the signal aborts, which `flush` reports. */
  async #send(subject: string, frame: Uint8Array, msgID: string): Promise<void> {
    const { js, signal } = this.#options;
    const traceparent = this.#traceparent;
    while (!signal.aborted) {
      try {
        await js.publish(subject, frame, {
          timeout: PUBLISH_TIMEOUT_MS,
          msgID,
          ...(traceparent === undefined ? {} : { headers: traceHeaders(traceparent) }),
        });
        return;
      } catch {
        await delay(RETRY_DELAY_MS, undefined, { signal }).catch(() => {});
      }
    }
  }
}
