// Publishes what happens to one job as batches: at most one in an interval, one at a time, each a readers' event and the job's state.

import { encodeEvent, encodeTokens, type Framed } from "@vqd/shared/codec.ts";
import { isTerminalEvent, type JobState, type PredictionEvent } from "@vqd/shared/events.ts";
import { encodeBatch, MAX_UNPACKED_BYTES } from "@vqd/shared/steps/batch.ts";
import type { Fence } from "./fence.ts";
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

/** Of a message beside what is attached: states of attempts, and the numbers of a thousand steps. */
const HEAD_BYTES = 32 * 1024;

export interface BatchPublisherOptions extends ReporterOptions {
  readonly fence: Fence;
  /** Shortest time between two messages, unless something ends or begins. */
  readonly intervalMs: number;
}

interface Snapshot {
  readonly state: JobState;
  /** As uint16 LE. */
  readonly tokens: Uint8Array;
}

interface Queued extends Framed<PredictionEvent> {
  /** The job's state after the event, if it is a step. */
  readonly after?: Snapshot;
}

const NOTHING = new Uint8Array();

export class BatchPublisher implements JobReporter {
  readonly #options: BatchPublisherOptions;
  #queue: Queued[] = [];
  /** The job's current state, and the one in the message sent last. */
  #latest: Snapshot | undefined;
  #sent: Snapshot | undefined;
  #hasSteps = false;
  #isDue = false;
  #n = 0;
  #sentAt = -Infinity;
  #sending: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: BatchPublisherOptions) {
    this.#options = options;
    options.signal.addEventListener("abort", () => clearTimeout(this.#timer), { once: true });
  }

  get attempt(): number {
    return this.#options.attempt;
  }

  async claim({ resume, images, started }: Claim, signal: AbortSignal): Promise<boolean> {
    const { startsBefore } = this.#options;
    const tokens = resume === undefined ? NOTHING : encodeTokens(resume.tokens);
    this.#latest = { state: this.#state(resume?.step ?? 0, images, startsBefore + 1), tokens };
    if (started !== undefined) this.#queue.push({ value: this.#event(started), attachment: NOTHING });
    return this.#send(signal);
  }

  publish(body: EventBody, attachment: Uint8Array = NOTHING): void {
    const value = this.#event(body);
    const limit = this.#options.maxPayload() - HEAD_BYTES - (this.#latest?.tokens.length ?? 0);
    const size = encodeEvent(value, attachment).length;
    if (attachment.length > 0 && size > limit) throw tooLarge(body, size, limit);
    this.#queue.push({ value, attachment: Uint8Array.from(attachment) });
    this.#schedule(isTerminalEvent(value) || value.type === "yielded");
  }

  publishStep(body: StepBody, tokens: Uint16Array): void {
    const attachment = encodeTokens(tokens);
    this.#latest = { state: this.#state(body.step, body.images, 0), tokens: attachment };
    this.#queue.push({ value: this.#event(body), attachment, after: this.#latest });
    const isFirst = !this.#hasSteps;
    this.#hasSteps = true;
    this.#schedule(isFirst || body.step === body.total);
  }

  withdraw(): void {
    const latest = this.#latest;
    if (latest === undefined) return;
    this.#latest = { ...latest, state: withdrawn(latest.state, this.#options) };
    this.saveState();
  }

  async yield(predictSeconds: number): Promise<void> {
    this.withdraw();
    this.publish({ type: "yielded", step: this.#latest?.state.step ?? 0, predictSeconds });
    await this.finish();
  }

  saveState(): void {
    if (this.#latest !== this.#sent) this.#schedule(true);
  }

  async flush(): Promise<void> {
    this.#isDue = true;
    while (!this.#options.signal.aborted && (this.#hasUnsent || this.#sending !== undefined)) {
      await this.#sendNow();
    }
    this.#isDue = false;
    this.#options.signal.throwIfAborted();
  }

  finish(): Promise<void> {
    // With nothing to say, the state alone says that the attempt is still the last.
    if (!this.#hasUnsent && this.#sending === undefined) this.#sent = undefined;
    return this.flush();
  }

  get #hasUnsent(): boolean {
    return this.#queue.length > 0 || this.#latest !== this.#sent;
  }

  #event(body: EventBody): PredictionEvent {
    return { v: 1, attempt: this.#options.attempt, at: Date.now(), ...body };
  }

  #state(step: number, images: number, starts: number): JobState {
    return stateOf(this.#options, this.#options.fence.owner, { step, images, starts });
  }

  /** Sends when the interval has passed, or at once; together with all that is published by then. */
  #schedule(isUrgent: boolean): void {
    this.#isDue ||= isUrgent;
    if (this.#sending !== undefined || this.#options.signal.aborted) return;
    const wait = this.#isDue ? 0 : this.#sentAt + this.#options.intervalMs - performance.now();
    // A timer that is set already comes no later, unless something is urgent now.
    if (this.#timer !== undefined && !isUrgent) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#sendNow(), Math.max(0, wait));
  }

  /** Sends one message, or waits for the one that is being sent. Never rejects. */
  #sendNow(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sending ??= this.#sendNext().finally(() => {
      this.#sending = undefined;
      if (this.#hasUnsent) this.#schedule(false);
    });
    return this.#sending;
  }

  async #sendNext(): Promise<void> {
    const { signal, onReplaced } = this.#options;
    this.#isDue = false;
    if (!signal.aborted && !(await this.#send(signal)) && !signal.aborted) onReplaced();
  }

  /** Sends as much of what is queued as one message may hold. False if another attempt has written, or the signal aborts. */
  async #send(signal: AbortSignal): Promise<boolean> {
    const { fence, startsBefore } = this.#options;
    const events = this.#queue.splice(0, this.#fitting());
    const isAll = this.#queue.length === 0;
    // The state must not be ahead of the steps in the message.
    const snapshot = isAll
      ? this.#latest
      : (events.findLast(({ after }) => after !== undefined)?.after ?? this.#sent);
    // A job that ends before it is claimed leaves nothing to continue from.
    const { state, tokens } = snapshot ?? { state: this.#state(0, 1, startsBefore), tokens: NOTHING };
    const n = this.#n++;
    this.#sentAt = performance.now();
    const frame = encodeBatch({ n, state, tokens, events });
    if (!(await fence.write(frame, signal, n))) return false;
    this.#sent = snapshot;
    return true;
  }

  /** Number of queued events that fit into a message; at least one. */
  #fitting(): number {
    let left = this.#options.maxPayload() - HEAD_BYTES - (this.#latest?.tokens.length ?? 0);
    let unpacked = MAX_UNPACKED_BYTES;
    const tooMany = this.#queue.findIndex(({ value, attachment }) => {
      // A step whose tokens all change takes one and a half times as many bytes when it is packed.
      if (value.type === "step") unpacked -= attachment.length;
      left -= value.type === "step" ? this.#packedBytes(attachment) : attachment.length;
      return left < 0 || unpacked < 0;
    });
    return tooMany < 0 ? this.#queue.length : Math.max(1, tooMany);
  }

  #packedBytes({ length }: Uint8Array): number {
    return length + length / 2;
  }
}
