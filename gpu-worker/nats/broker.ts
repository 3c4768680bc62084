// The worker's connection to NATS: kept up for ever, with the JetStream calls that a worker may make.

import {
  AckPolicy,
  type ConsumerConfig,
  DeliverPolicy,
  type JetStreamClient,
  JetStreamApiError,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
} from "@nats-io/jetstream";
import { connect, type NatsConnection, nanos, TimeoutError } from "nats";
import { decodeState, encodeManifest, type Framed } from "@vqd/shared/codec.ts";
import type { JobState } from "@vqd/shared/events.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { type ModelManifest, modelKey } from "@vqd/shared/model.ts";
import {
  INBOX_PREFIX,
  STREAMS,
  jobConsumer,
  jobSubject,
  modelSubject,
  stateSubject,
} from "@vqd/shared/subjects.ts";
import { Delivery } from "./delivery.ts";
import { connectionOptions, type NatsSettings } from "./settings.ts";
import type { QueueName } from "./pull-order.ts";

const RECONNECT_WAIT_MS = 500;
/** A first connection that takes longer is told of in the log, and again from time to time. */
const UNREACHED_MS = 5_000;
const STILL_UNREACHED_MS = 60_000;
const DEFAULT_MAX_PAYLOAD = 1024 * 1024;
const CONSUMER_NOT_FOUND = 10_014;
/** How long the server may take over an answer, beyond the time it was asked to wait. */
const PULL_TIMEOUT_MS = 5_000;
/** A pull request that is not to wait may be left to wait all the same; then nothing has come for it. */
const NO_WAIT_TIMEOUT_MS = 20_000;
/** Answers to a pull request that bring no job: the queue is empty, or was for as long as the request waited. */
const NO_MESSAGES = 404;
const REQUEST_TIMEOUT = 408;

/** A job's state, if this release can read it, with its sequence in the stream: that is what the next one comes after. */
export interface StoredState extends Framed<JobState | undefined> {
  readonly sequence: number;
}

export interface BrokerOptions {
  readonly nats: NatsSettings;
  /** Name of this connection in the server's monitoring. */
  readonly name: string;
  readonly log: Logger;
  /** The connection is over for good: the server refuses the credentials, which have expired or been revoked. */
  readonly onRefused: (error: Error) => void;
}

/** Without the user and password that a URL may hold. */
const hostsOf = ({ servers }: NatsSettings): string =>
  servers.map((url) => URL.parse(url)?.host ?? "").join(",");

export class Broker {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly #jsm: JetStreamManager;
  readonly #log: Logger;
  readonly #reconnectListeners = new Set<() => void>();
  #connected = true;

  private constructor(nc: NatsConnection, jsm: JetStreamManager, log: Logger) {
    this.nc = nc;
    this.#jsm = jsm;
    this.#log = log;
    this.js = jetstream(nc);
    void this.#followStatus();
  }

  /** Connects, waiting as long as it takes for the server to come up; refused credentials are an error. */
  static async connect({ nats, name, log, onRefused }: BrokerOptions): Promise<Broker> {
    let timer = setTimeout(function tell() {
      log.warn("cannot reach NATS yet", { servers: hostsOf(nats) });
      timer = setTimeout(tell, STILL_UNREACHED_MS);
    }, UNREACHED_MS);
    const nc = await connect({
      ...connectionOptions(nats),
      name,
      inboxPrefix: INBOX_PREFIX.worker,
      waitOnFirstConnect: true,
      maxReconnectAttempts: -1,
      reconnectTimeWait: RECONNECT_WAIT_MS,
    }).finally(() => clearTimeout(timer));
    void (async () => {
      const error = await nc.closed();
      if (error instanceof Error) onRefused(error);
    })();
    // checkAPI would ask for account information, which a worker may not read.
    return new Broker(nc, await jetstreamManager(nc, { checkAPI: false }), log);
  }

  get connected(): boolean {
    return this.#connected && !this.nc.isClosed();
  }

  /** Largest message in bytes, as the connected server says. */
  get maxPayload(): number {
    return this.nc.info?.max_payload ?? DEFAULT_MAX_PAYLOAD;
  }

  /** Calls `listener` after each reconnect; returns how to stop that. */
  onReconnect(listener: () => void): () => void {
    this.#reconnectListeners.add(listener);
    return () => this.#reconnectListeners.delete(listener);
  }

  /** Makes the model known to the edges. */
  async announce(manifest: ModelManifest): Promise<void> {
    await this.js.publish(modelSubject(modelKey(manifest)), encodeManifest(manifest));
  }

  /**
   * The durable consumers that the workers of a model share, one for each priority: made or brought up to date if
   * necessary. The normal one comes first: in releases without priorities it took all jobs, which must not be shared.
   */
  async ensureJobConsumers(key: string, leaseMs: number): Promise<void> {
    await this.#ensureJobConsumer({ modelKey: key, priority: "normal" }, leaseMs);
    await this.#ensureJobConsumer({ modelKey: key, priority: "high" }, leaseMs);
    await this.#ensureJobConsumer({ modelKey: key, priority: "low" }, leaseMs);
  }

  async #ensureJobConsumer({ modelKey: key, priority }: QueueName, leaseMs: number): Promise<void> {
    const name = jobConsumer(key, priority);
    const wanted = {
      durable_name: name,
      filter_subject: jobSubject(key, priority),
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.All,
      ack_wait: nanos(leaseMs),
      // The worker counts attempts itself: a message past max_deliver would stay in the queue, unseen.
      max_deliver: -1,
    } satisfies Partial<ConsumerConfig>;
    const existing = await this.#jsm.consumers.info(STREAMS.jobs, name).catch((error: unknown) => {
      if (error instanceof JetStreamApiError && error.code === CONSUMER_NOT_FOUND) return undefined;
      throw error;
    });
    const isAsWanted =
      existing?.config.ack_wait === wanted.ack_wait &&
      existing.config.filter_subject === wanted.filter_subject;
    if (!isAsWanted) await this.#jsm.consumers.add(STREAMS.jobs, wanted);
  }

  /**
   * Takes a job, if there is one within `waitMs`, by the pull protocol itself: the client's own consumers cannot ask
   * without waiting, and to ask several queues in turn one must not wait at the first.
   */
  async pull({ modelKey: key, priority }: QueueName, waitMs = 0): Promise<Delivery | undefined> {
    const waits = waitMs > 0;
    const request = { batch: 1, ...(waits ? { expires: nanos(waitMs) } : { no_wait: true }) };
    const answer = await this.nc
      .request(
        `$JS.API.CONSUMER.MSG.NEXT.${STREAMS.jobs}.${jobConsumer(key, priority)}`,
        JSON.stringify(request),
        // A job comes under its own subject, by which the client's shared inbox would not know it for the answer.
        { timeout: waits ? waitMs + PULL_TIMEOUT_MS : NO_WAIT_TIMEOUT_MS, noMux: true },
      )
      .catch((error: unknown) => {
        if (!waits && error instanceof TimeoutError && this.connected) return undefined;
        throw error;
      });
    if (answer === undefined) return undefined;
    const status = answer.headers?.code ?? 0;
    if (status === NO_MESSAGES || status === REQUEST_TIMEOUT) return undefined;
    if (status !== 0) {
      throw new Error(`the queue did not take a pull request: ${status} ${answer.headers?.description}`);
    }
    return new Delivery(this.nc, answer);
  }

  /** The newest diffusion state published for a prediction, if there is one. */
  async lastState(predictionId: string): Promise<StoredState | undefined> {
    const message = await this.#jsm.direct.getMessage(STREAMS.state, {
      last_by_subj: stateSubject(predictionId),
    });
    if (message === null) return undefined;
    const { data, seq: sequence } = message;
    try {
      return { ...decodeState(data), sequence };
    } catch (error) {
      this.#log.warn("cannot read a job's state", { prediction: predictionId, ...errorFields(error) });
      return { value: undefined, attachment: new Uint8Array(0), sequence };
    }
  }

  async close(): Promise<void> {
    // drain() sends what is still buffered; without a server there is nobody to send it to.
    if (this.connected) await this.nc.drain();
    else await this.nc.close();
  }

  async #followStatus(): Promise<void> {
    const log = this.#log;
    for await (const status of this.nc.status()) {
      if (status.type === "disconnect") {
        this.#connected = false;
        log.warn("lost the connection to NATS", { server: status.server });
      } else if (status.type === "reconnect") {
        this.#connected = true;
        log.info("reconnected to NATS", { server: status.server });
        for (const listener of this.#reconnectListeners) listener();
      } else if (status.type === "error") {
        log.warn("NATS reported an error", errorFields(status.error));
      }
    }
  }
}
