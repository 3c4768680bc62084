// Publishes the events and states of one job one by one, each confirmed by JetStream before the next is sent: for hubs and accounts
// of releases that know no batches.

import { setTimeout as delay } from "node:timers/promises";
import type { JetStreamClient } from "@nats-io/jetstream";
import { encodeEvent, encodeTokens } from "@vqd/shared/codec.ts";
import type { JobState, PredictionEvent } from "@vqd/shared/events.ts";
import {
  type Claim,
  type EventBody,
  type JobReporter,
  type ReporterOptions,
  stateOf,
  type StepBody,
  tooLarge,
  withdrawn,
} from "./reporter.ts";
import type { StateWriter } from "./state-writer.ts";
import { activeTraceparent, traceHeaders } from "../telemetry/tracing.ts";

const PUBLISH_TIMEOUT_MS = 2_000;
const RETRY_DELAY_MS = 250;

export interface PublisherOptions extends ReporterOptions {
  readonly js: JetStreamClient;
  /** The subject of the job's events. */
  readonly subject: string;
  readonly predictionId: string;
  /** The state is stored whenever this many steps have been made, and after the last. */
  readonly stateEvery: number;
  readonly states: StateWriter;
}

interface Snapshot {
  readonly state: JobState;
  readonly tokens: Uint16Array;
}

const NO_TOKENS = new Uint16Array(0);

export class JobPublisher implements JobReporter {
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

  publish(body: EventBody, attachment?: Uint8Array): void {
    const { subject, predictionId, attempt, states, maxPayload } = this.#options;
    const event = { v: 1, attempt, at: Date.now(), ...body } as PredictionEvent;
    const frame = encodeEvent(event, attachment);
    if (frame.length > maxPayload()) {
      throw tooLarge(body, frame.length, maxPayload());
    }
    this.#enqueue(() =>
      this.#send(subject, frame, `${predictionId}:${attempt}:${states.owner}:${this.#sequence++}`),
    );
  }

  async claim({ resume, images, started }: Claim, signal: AbortSignal): Promise<boolean> {
    const { states, startsBefore } = this.#options;
    const state = this.#state(resume?.step ?? 0, images, startsBefore + 1);
    this.#latest = { state, tokens: resume?.tokens ?? NO_TOKENS };
    this.#saved = this.#latest;
    if (!(await states.write(state, this.#latest.tokens, signal))) return false;
    if (started !== undefined) this.publish(started);
    return true;
  }

  /** Queues the step event and then, if due, the state, so that a stored state is never ahead of what readers have seen. */
  publishStep(body: StepBody, tokens: Uint16Array): void {
    this.publish(body, encodeTokens(tokens));
    this.#latest = { state: this.#state(body.step, body.images, 0), tokens };
    const saved = this.#saved?.state.step ?? 0;
    if (body.step - saved >= this.#options.stateEvery || body.step === body.total) this.saveState();
  }

  withdraw(): void {
    const latest = this.#latest;
    if (latest === undefined) return;
    this.#latest = { ...latest, state: withdrawn(latest.state, this.#options) };
    this.saveState();
  }

  async yield(predictSeconds: number): Promise<void> {
    this.withdraw();
    await this.flush();
    this.publish({ type: "yielded", step: this.#latest?.state.step ?? 0, predictSeconds });
    await this.finish();
  }

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

  async finish(): Promise<void> {
    const latest = this.#latest;
    if (latest !== undefined) {
      this.#saved = latest;
      this.#enqueue(() => this.#write(latest));
    }
    await this.flush();
  }

  async flush(): Promise<void> {
    await this.#tail;
    this.#options.signal.throwIfAborted();
  }

  #state(step: number, images: number, starts: number): JobState {
    return stateOf(this.#options, this.#options.states.owner, { step, images, starts });
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
