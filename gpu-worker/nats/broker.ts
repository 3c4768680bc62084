// The worker's connection to NATS, re-established whenever it is lost, with the JetStream calls that a worker may make.

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
/** If the first connection takes longer than this, the log says so, and says so again at the second interval. */
const UNREACHED_MS = 5_000;
const STILL_UNREACHED_MS = 60_000;
const DEFAULT_MAX_PAYLOAD = 1024 * 1024;
const CONSUMER_NOT_FOUND = 10_014;
/** How long the server may take to answer, beyond the time it was asked to wait. */
const PULL_TIMEOUT_MS = 5_000;
/** The server may let a no-wait pull request wait all the same; after this long, no job has come for it. */
const NO_WAIT_TIMEOUT_MS = 20_000;
/** Replies to a pull request that bring no job: the queue is empty, or stayed empty for as long as the request waited. */
const NO_MESSAGES = 404;
const REQUEST_TIMEOUT = 408;

/** A job's state, if this release can read it, and its stream sequence, which the next write must name. */
export interface StoredState extends Framed<JobState | undefined> {
  readonly sequence: number;
}

export interface BrokerOptions {
  readonly nats: NatsSettings;
  /** Name of this connection in the server's monitoring. */
  readonly name: string;
  readonly log: Logger;
  /** Called when the connection is closed for good: the server rejects the credentials, which have expired or been revoked. */
  readonly onRefused: (error: Error) => void;
}

/** Hosts only, without any user and password in the URLs. */
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

  /** Connects, waiting as long as it takes for the server to come up; rejects when the server rejects the credentials. */
  static async connect({ nats, name, log, onRefused }: BrokerOptions): Promise<Broker> {
    let timer = setTimeout(function warn() {
      log.warn("NATS not reachable yet", { servers: hostsOf(nats) });
      timer = setTimeout(warn, STILL_UNREACHED_MS);
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
    // checkAPI would request account information, which a worker may not read.
    return new Broker(nc, await jetstreamManager(nc, { checkAPI: false }), log);
  }

  get connected(): boolean {
    return this.#connected && !this.nc.isClosed();
  }

  /** Largest message in bytes, according to the connected server. */
  get maxPayload(): number {
    return this.nc.info?.max_payload ?? DEFAULT_MAX_PAYLOAD;
  }

  /** Calls `listener` after each reconnect; returns a function that removes it. */
  onReconnect(listener: () => void): () => void {
    this.#reconnectListeners.add(listener);
    return () => this.#reconnectListeners.delete(listener);
  }

  /** Announces the model to the edges. */
  async announce(manifest: ModelManifest): Promise<void> {
    await this.js.publish(modelSubject(modelKey(manifest)), encodeManifest(manifest));
  }

  /**
   * Creates or updates the durable consumers that the workers of a model share, one per priority. The normal one comes
   * first: in releases without priorities it received all jobs, and filters must not overlap.
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
      // The worker counts attempts itself: a message past max_deliver would stay in the queue, never delivered.
      max_deliver: -1,
    } satisfies Partial<ConsumerConfig>;
    const existing = await this.#jsm.consumers.info(STREAMS.jobs, name).catch((error: unknown) => {
      if (error instanceof JetStreamApiError && error.code === CONSUMER_NOT_FOUND) return undefined;
      throw error;
    });
    const isUpToDate =
      existing?.config.ack_wait === wanted.ack_wait &&
      existing.config.filter_subject === wanted.filter_subject;
    if (!isUpToDate) await this.#jsm.consumers.add(STREAMS.jobs, wanted);
  }

  /**
   * Pulls a job, if one arrives within `waitMs`. Speaks the pull protocol itself: the client library's consumers cannot
   * ask without waiting, and asking several queues in turn requires not waiting at the first.
   */
  async pull({ modelKey: key, priority }: QueueName, waitMs = 0): Promise<Delivery | undefined> {
    const waits = waitMs > 0;
    const request = { batch: 1, ...(waits ? { expires: nanos(waitMs) } : { no_wait: true }) };
    const answer = await this.nc
      .request(
        `$JS.API.CONSUMER.MSG.NEXT.${STREAMS.jobs}.${jobConsumer(key, priority)}`,
        JSON.stringify(request),
        // A job arrives under its own subject, so the client's shared inbox would not recognize it as the reply.
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
      throw new Error(`the queue rejected a pull request: ${status} ${answer.headers?.description}`);
    }
    return new Delivery(this.nc, answer);
  }

  /** The latest diffusion state stored for a prediction, if any. */
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
    // drain() sends what is still buffered, which takes a server.
    if (this.connected) await this.nc.drain();
    else await this.nc.close();
  }

  async #followStatus(): Promise<void> {
    const log = this.#log;
    for await (const status of this.nc.status()) {
      if (status.type === "disconnect") {
        this.#connected = false;
        log.warn("disconnected from NATS", { server: status.server });
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
