// The worker's connection to NATS, re-established whenever it is lost, with the JetStream calls that a worker may make.

import {
  type ConsumerInfo,
  type JetStreamClient,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
} from "@nats-io/jetstream";
import {
  connect,
  millis,
  type MsgHdrs,
  nanos,
  type NatsConnection,
  NoRespondersError,
  PermissionViolationError,
  RequestError,
  TimeoutError,
} from "nats";
import { decodeState, encodeManifest, type Framed } from "@vqd/shared/codec.ts";
import type { JobState } from "@vqd/shared/events.ts";
import { decodeBatchState } from "@vqd/shared/steps/batch.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { Job } from "@vqd/shared/job.ts";
import { type ModelManifest, modelKey } from "@vqd/shared/model.ts";
import {
  API_DOMAIN,
  eventSubject,
  INBOX_PREFIX,
  jobConsumer,
  modelSubject,
  PRIORITIES,
  STREAMS,
} from "@vqd/shared/subjects.ts";
import { Delivery } from "./delivery.ts";
import { jobSubjects, type JobSubjects } from "./job-subjects.ts";
import { connectionOptions, type NatsSettings } from "./settings.ts";
import type { QueueName } from "./pull-order.ts";

const RECONNECT_WAIT_MS = 500;
/** If the first connection takes longer than this, the log says so, and says so again at the second interval. */
const UNREACHED_MS = 5_000;
const STILL_UNREACHED_MS = 60_000;
const DEFAULT_MAX_PAYLOAD = 1024 * 1024;
/** How long the server may take to answer, beyond the time it was asked to wait. */
const PULL_TIMEOUT_MS = 5_000;
/** The server may let a no-wait pull request wait all the same; after this long, no job has come for it. */
const NO_WAIT_TIMEOUT_MS = 20_000;
/** Replies to a pull request that bring no job: the queue is empty, or stayed empty for as long as the request waited. */
const NO_MESSAGES = 404;
const REQUEST_TIMEOUT = 408;

/** No prediction has this id. */
const NO_PREDICTION = "0".repeat(26);

/** A job's state, if this release can read it, and its stream sequence, which the next write must name. */
export interface StoredState extends Framed<JobState | undefined> {
  readonly subject: string;
  readonly sequence: number;
  /** The number of the message in its attempt, of a batch. */
  readonly n?: number;
}

export interface BrokerOptions {
  readonly nats: NatsSettings;
  /** Name of this connection in the server's monitoring. */
  readonly name: string;
  readonly log: Logger;
  /** Called when the connection is closed for good: the server rejects the credentials, which have expired or been revoked. */
  readonly onRefused: (error: Error) => void;
}

/** The operator has not created a model's queues, or has retired its version. */
export class QueueMissingError extends Error {
  override readonly name = "QueueMissingError";
}

/** JetStream's API as accounts of models import it, and as it is in the streams' own account. */
type Managers = Readonly<Record<"scoped" | "unscoped", JetStreamManager>>;

/** The server does not let these credentials ask, or their account has nothing that would answer. */
function isRefusal(error: unknown): boolean {
  if (error instanceof RequestError) return error.isNoResponders() || isRefusal(error.cause);
  return (
    error instanceof PermissionViolationError ||
    error instanceof NoRespondersError ||
    (error instanceof Error && error.name === "JetStreamNotEnabled")
  );
}

/** Hosts only, without any user and password in the URLs. */
const hostsOf = ({ servers }: NatsSettings): string =>
  servers.map((url) => URL.parse(url)?.host ?? "").join(",");

export class Broker {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly #managers: Managers;
  readonly #log: Logger;
  #isScoped = true;
  /** Models of whose events the last one may be read. */
  readonly #batched = new Set<string>();
  readonly #reconnectListeners = new Set<() => void>();
  #connected = true;

  private constructor(nc: NatsConnection, managers: Managers, log: Logger) {
    this.nc = nc;
    this.#managers = managers;
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
    const managers = {
      scoped: await jetstreamManager(nc, { checkAPI: false, domain: API_DOMAIN }),
      unscoped: await jetstreamManager(nc, { checkAPI: false }),
    };
    return new Broker(nc, managers, log);
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

  /** Announces the model, with its tokenizer, to the edges. */
  async announce(manifest: ModelManifest, tokenizer: Uint8Array): Promise<void> {
    await this.js.publish(modelSubject(modelKey(manifest)), encodeManifest(manifest, tokenizer));
  }

  /**
   * How long a worker may be silent before its job goes to another one, in ms: the shortest ack wait of the model's queues,
   * which the operator creates (`vqd streams apply --model`). Rejects with an Error that says what is missing.
   */
  async leaseOf(key: string): Promise<number> {
    const infos: ConsumerInfo[] = [];
    for (const priority of PRIORITIES) infos.push(await this.#queueInfo({ modelKey: key, priority }));
    return Math.min(...infos.map(({ config }) => millis(config.ack_wait ?? 0)));
  }

  /** Finds out whether the last event of the model's jobs may be read, which batches need. Rejects if the server does not answer. */
  async tryEvents(key: string): Promise<void> {
    if (!this.#isScoped) return;
    try {
      await this.#direct.getMessage(STREAMS.events, { last_by_subj: eventSubject(0, key, NO_PREDICTION) });
      this.#batched.add(key);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#log.info("the NATS account does not let the last event be read; steps are sent one by one", {
        model: key,
      });
    }
  }

  /** Finds out on the way whether the credentials are of the model's own account or, as in 0.1.0, of the streams'. */
  async #queueInfo({ modelKey: key, priority }: QueueName): Promise<ConsumerInfo> {
    const name = jobConsumer(key, priority);
    for (const isScoped of [this.#isScoped, !this.#isScoped]) {
      try {
        const info = await this.#managers[isScoped ? "scoped" : "unscoped"].consumers.info(
          STREAMS.jobs,
          name,
        );
        this.#isScoped = isScoped;
        return info;
      } catch (error) {
        if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.ConsumerNotFound) {
          const how = `vqd streams apply --model ${key}, with the operator's credentials, creates it`;
          throw new QueueMissingError(`the queue ${name} does not exist: ${how}`, { cause: error });
        }
        if (!isRefusal(error)) throw error;
      }
    }
    throw new Error(`these NATS credentials do not allow the model ${key}`);
  }

  /** Where the messages of a job go that has come from its model's queue. */
  subjectsOf(job: Job, key: string, headers: MsgHdrs | undefined): JobSubjects {
    return jobSubjects(job, key, {
      isScoped: this.#isScoped,
      readsEvents: this.#batched.has(key),
      headers,
    });
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
        `$JS.${this.#isScoped ? `${API_DOMAIN}.` : ""}API.CONSUMER.MSG.NEXT.${STREAMS.jobs}.${jobConsumer(key, priority)}`,
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

  /** The latest diffusion state under the first of `subjects` that has one, if any. */
  async lastState(subjects: readonly string[]): Promise<StoredState | undefined> {
    for (const subject of subjects) {
      const found = await this.#last(STREAMS.state, subject, decodeState, "cannot read a job's state");
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** The last event of a job, with the state in it if it is a batch. */
  lastBatch(subject: string): Promise<StoredState | undefined> {
    return this.#last(STREAMS.events, subject, decodeBatchState, "a job's last event has no state");
  }

  async #last(
    stream: string,
    subject: string,
    decode: (data: Uint8Array) => Pick<StoredState, "value" | "attachment" | "n">,
    complaint: string,
  ): Promise<StoredState | undefined> {
    const message = await this.#direct.getMessage(stream, { last_by_subj: subject });
    if (message === null) return undefined;
    const { data, seq: sequence } = message;
    try {
      return { ...decode(data), subject, sequence };
    } catch (error) {
      this.#log.warn(complaint, { subject, ...errorFields(error) });
      return { value: undefined, attachment: new Uint8Array(0), subject, sequence };
    }
  }

  get #direct(): JetStreamManager["direct"] {
    return this.#managers[this.#isScoped ? "scoped" : "unscoped"].direct;
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
