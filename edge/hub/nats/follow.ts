// Reads a shard's events in order, starting after the last one applied, for as long as a session lasts.

import { AckPolicy, DeliverPolicy, type JetStreamManager } from "@nats-io/jetstream";
import { createInbox, type Msg, type NatsConnection, nanos, type Subscription } from "@nats-io/nats-core";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { MESSAGE_HEADERS } from "@vqd/shared/headers.ts";
import { eventFilter, INBOX_PREFIX, STREAMS } from "@vqd/shared/subjects.ts";
import type { StreamCursor } from "./cursor.ts";
import type { EventsPosition } from "./position.ts";
import type { NatsSession } from "./session.ts";

const HEARTBEAT_MS = 3_000;
/** Silence after which the consumer is recreated: this is how the loss of a consumer on the server shows. */
const SILENCE_MS = 3 * HEARTBEAT_MS;
/** Time after which the server removes a consumer that nobody listens to. */
const INACTIVE_MS = 30_000;
const RESTART_DELAY_MS = 500;
/** The delay doubles while events fail, up to half a minute. */
const MAX_DOUBLINGS = 6;
/** Status code of heartbeats and flow control messages. */
const CONTROL_STATUS = 100;

export interface StreamMessage {
  readonly subject: string;
  readonly sequence: number;
  readonly data: Uint8Array;
  /** Traceparent of the worker's span, if the prediction is traced. */
  readonly traceparent?: string | undefined;
}

export interface FollowerOptions {
  readonly session: NatsSession;
  readonly shard: number;
  readonly cursor: StreamCursor;
  readonly position: EventsPosition;
  /** Applies a message and advances the cursor. Messages are handed over in order; those of one prediction wait for each other. */
  readonly handle: (message: StreamMessage) => Promise<void>;
  /** If too much is being applied, resolves when there is less: no further message is handed over before. */
  readonly room: () => Promise<void> | undefined;
  readonly log: Logger;
}

/** What the reply subject of a delivered message says of it. Newer servers put two more tokens before the stream's name. */
function deliveryOf(reply: string): {
  streamSequence: number;
  deliverySequence: number;
  /** When it came into the stream, as Unix time in ms. */
  at: number;
  /** How many messages of the consumer come after it. */
  pending: number;
} {
  // $JS.ACK[.<domain>.<account>].<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
  const tokens = reply.split(".");
  const first = tokens.length > 9 ? 7 : 5;
  const [streamSequence = NaN, deliverySequence = NaN, time = NaN, pending = NaN] = tokens
    .slice(first)
    .map(Number);
  return { streamSequence, deliverySequence, at: time / 1e6, pending };
}

export class EventFollower {
  readonly #options: FollowerOptions;
  readonly #nc: NatsConnection;
  readonly #jsm: JetStreamManager;
  #subscription: Subscription | undefined;
  #consumer: string | undefined;
  /** Number of the current consumer; work queued for an earlier one is discarded. */
  #generation = 0;
  /** Consecutive events that could not be applied. */
  #failures = 0;
  #delivered = 0;
  #heardAt = 0;
  /** Messages that were in the stream at the start, and have yet to be applied. */
  #backlog = 0;
  #queue: (() => Promise<void> | undefined | void)[] = [];
  #working = false;
  #restarting = false;
  /** What the current consumer has delivered while the message was under way from an earlier one. */
  readonly #passedOver = new Set<number>();
  #timer: number | null = null;
  readonly #caughtUp = Promise.withResolvers<void>();

  constructor(options: FollowerOptions) {
    this.#options = options;
    this.#nc = options.session.nc;
    this.#jsm = options.session.jsm;
  }

  /** Resolves once everything that was in the stream at the start has been applied. */
  get caughtUp(): Promise<void> {
    return this.#caughtUp.promise;
  }

  async start(): Promise<void> {
    await this.#subscribe();
    this.#timer = setInterval(() => {
      if (!this.#restarting && Date.now() - this.#heardAt > SILENCE_MS) void this.#restart("silence");
    }, HEARTBEAT_MS);
  }

  /** Call at the end of the session; the server removes the consumer on its own. */
  stop(): void {
    clearInterval(this.#timer);
    this.#generation++;
    this.#queue = [];
    this.#options.position.stopped(Date.now());
    this.#subscription?.unsubscribe();
  }

  /** Creates a consumer that starts at the cursor, and returns its generation. */
  async #subscribe(): Promise<number> {
    const { shard, cursor, position, log } = this.#options;
    const generation = ++this.#generation;
    this.#queue = [];
    this.#delivered = 0;
    this.#passedOver.clear();
    const stream = await this.#jsm.streams.info(STREAMS.events);
    if (cursor.reconcile({ created: stream.created, lastSequence: stream.state.last_seq })) {
      log.warn("the events stream was replaced or truncated; reading it from the start");
    }
    const inbox = createInbox(INBOX_PREFIX.edge);
    this.#subscription = this.#nc.subscribe(inbox, {
      callback: (error, message) => {
        if (generation !== this.#generation) return;
        if (error === null) this.#receive(message);
        else log.warn("events subscription failed", errorFields(error));
      },
    });
    const consumer = await this.#jsm.consumers.add(STREAMS.events, {
      name: `hub-${shard}-${inbox.slice(inbox.lastIndexOf(".") + 1)}`,
      filter_subject: eventFilter(shard),
      deliver_subject: inbox,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: cursor.sequence + 1,
      ack_policy: AckPolicy.None,
      // The server waits for a reply before it exceeds its window, which bounds the queue below.
      flow_control: true,
      idle_heartbeat: nanos(HEARTBEAT_MS),
      inactive_threshold: nanos(INACTIVE_MS),
      mem_storage: true,
      num_replicas: 1,
    });
    this.#consumer = consumer.name;
    this.#heardAt = Date.now();
    // num_pending excludes what has already been sent; delivered counts that.
    this.#backlog = consumer.num_pending + consumer.delivered.consumer_seq;
    position.started(this.#backlog);
    if (this.#backlog === 0) this.#caughtUp.resolve();
    return generation;
  }

  #receive(message: Msg): void {
    this.#heardAt = Date.now();
    if (message.headers?.code === CONTROL_STATUS) {
      // Flow control has a reply subject, to be answered once everything before it has been applied. The heartbeat of
      // a stalled consumer has it in a header.
      const reply = message.reply ?? message.headers.get("Nats-Consumer-Stalled");
      if (reply !== undefined && reply !== "") this.#enqueue(() => this.#nc.publish(reply));
      return;
    }
    const { streamSequence, deliverySequence, at, pending } = deliveryOf(message.reply ?? "");
    if (deliverySequence !== this.#delivered + 1) {
      void this.#restart("gap");
      return;
    }
    this.#delivered = deliverySequence;
    this.#options.position.received(streamSequence, at, pending);
    const { subject, data } = message;
    const traceparent = message.headers?.get(MESSAGE_HEADERS.traceparent) || undefined;
    const generation = this.#generation;
    this.#enqueue(() => {
      const { cursor, position, handle, room } = this.#options;
      // After a restart, the first messages may have been applied already, or be under way.
      if (cursor.has(streamSequence)) {
        if (cursor.isUnderWay(streamSequence)) this.#passedOver.add(streamSequence);
        else position.applied(streamSequence);
        this.#noteApplied();
        return undefined;
      }
      cursor.take(streamSequence);
      const applied = handle({ subject, sequence: streamSequence, data, traceparent });
      void this.#settle(applied, streamSequence, generation);
      return room();
    });
  }

  async #settle(applied: Promise<void>, sequence: number, generation: number): Promise<void> {
    const { cursor, position, log } = this.#options;
    try {
      await applied;
      position.applied(sequence);
      this.#failures = 0;
      if (generation === this.#generation) this.#noteApplied();
    } catch (error) {
      cursor.rewind(sequence);
      // If the event came from an earlier consumer, the current one delivers it again, unless it has done so before.
      if (generation !== this.#generation && !this.#passedOver.has(sequence)) return;
      this.#failures++;
      log.error("cannot apply an event", errorFields(error));
      void this.#restart("failure");
    }
  }

  #noteApplied(): void {
    if (--this.#backlog <= 0) this.#caughtUp.resolve();
  }

  #enqueue(work: () => Promise<void> | undefined | void): void {
    this.#queue.push(work);
    if (!this.#working) void this.#drain();
  }

  async #drain(): Promise<void> {
    this.#working = true;
    for (let work = this.#queue.shift(); work !== undefined; work = this.#queue.shift()) {
      await work();
    }
    this.#working = false;
  }

  /** Creates a new consumer, starting at the cursor. Nothing more of what the current one delivers is applied. */
  async #restart(reason: string): Promise<void> {
    this.#generation++;
    this.#queue = [];
    this.#options.position.stopped(Date.now());
    if (this.#restarting || this.#nc.isClosed()) return;
    this.#restarting = true;
    const { log } = this.#options;
    log.warn("restarting the event consumer", { reason });
    try {
      let made: number;
      do {
        this.#subscription?.unsubscribe();
        if (this.#consumer !== undefined) {
          await this.#jsm.consumers.delete(STREAMS.events, this.#consumer).catch(() => false);
        }
        const delayMs = RESTART_DELAY_MS * 2 ** Math.min(this.#failures, MAX_DOUBLINGS);
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        made = await this.#subscribe();
        // One of its events may already have failed.
      } while (made !== this.#generation && !this.#nc.isClosed());
    } catch (error) {
      // A session without events is useless; the hub opens a new one.
      log.warn("cannot follow events", errorFields(error));
      await this.#nc.close();
    } finally {
      this.#restarting = false;
    }
  }
}
