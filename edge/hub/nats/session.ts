// The hub's single connection to NATS: opened on demand, closed when idle, and never resumed by the client library.
// Its permissions are in infra/nats/permissions.ts.

import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { credsAuthenticator, type NatsConnection, wsconnect } from "@nats-io/nats-core";
import { VqdError } from "@vqd/shared/errors.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { INBOX_PREFIX } from "@vqd/shared/subjects.ts";

/** Time limit for the handshake, and for how long a caller waits before it gets a 503. */
export const CONNECT_TIMEOUT_MS = 2_000;
const API_TIMEOUT_MS = 3_000;
/** A dead connection is noticed after PING_INTERVAL_MS x MAX_PINGS_OUT. */
const PING_INTERVAL_MS = 5_000;
const MAX_PINGS_OUT = 2;

export interface NatsSession {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
}

export interface NatsLinkOptions {
  /** Servers of one cluster, tried one after another in any order. */
  readonly urls: readonly string[];
  readonly user: string | undefined;
  readonly password: string | undefined;
  /** Text of a credentials file, used instead of user and password. */
  readonly credentials: string | undefined;
  /** Client name, shown in the server's monitoring. */
  readonly name: string;
  readonly log: Logger;
  /** Called with each new session before anyone else gets it; if it rejects, so does `open`. */
  readonly onOpen: (session: NatsSession) => Promise<void>;
  /** Called when an open session has ended, for whatever reason. */
  readonly onClosed: () => void;
}

export class NatsLink {
  readonly #options: NatsLinkOptions;
  #session: NatsSession | undefined;
  #opening: Promise<NatsSession> | undefined;

  constructor(options: NatsLinkOptions) {
    this.#options = options;
  }

  /** The open session, if there is one. */
  get session(): NatsSession | undefined {
    return this.#session;
  }

  /** An open session. Throws a retryable VqdError (queue_unavailable) if there is none within `timeoutMs`. */
  async open(timeoutMs: number = CONNECT_TIMEOUT_MS): Promise<NatsSession> {
    if (this.#session !== undefined) return this.#session;
    this.#opening ??= this.#connect().finally(() => {
      this.#opening = undefined;
    });
    const timeout = Promise.withResolvers<never>();
    const timer = setTimeout(() => timeout.reject(new Error("timeout")), timeoutMs);
    try {
      return await Promise.race([this.#opening, timeout.promise]);
    } catch (cause) {
      throw new VqdError("queue_unavailable", "the job queue is currently unreachable", {
        cause,
        retryable: true,
        retryAfterSeconds: 2,
      });
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    await this.#session?.nc.close();
  }

  async #connect(): Promise<NatsSession> {
    const { urls, user, password, credentials, name, log, onOpen } = this.#options;
    try {
      const nc = await wsconnect({
        servers: [...urls],
        name,
        ...(user === undefined ? {} : { user }),
        ...(password === undefined ? {} : { pass: password }),
        ...(credentials === undefined
          ? {}
          : { authenticator: credsAuthenticator(new TextEncoder().encode(credentials)) }),
        inboxPrefix: INBOX_PREFIX.edge,
        timeout: CONNECT_TIMEOUT_MS,
        pingInterval: PING_INTERVAL_MS,
        maxPingOut: MAX_PINGS_OUT,
        // The library would buffer messages and send them after their callers have given up. Instead, a lost
        // connection ends the session: pending requests fail immediately, and the hub opens a new one.
        reconnect: false,
        noAsyncTraces: true,
        ignoreClusterUpdates: true,
      });
      const api = { checkAPI: false, timeout: API_TIMEOUT_MS };
      const session = { nc, js: jetstream(nc, api), jsm: await jetstreamManager(nc, api) };
      void this.#logErrors(nc);
      const closed = nc.closed();
      try {
        await onOpen(session);
      } catch (error) {
        await nc.close();
        throw error;
      }
      if (nc.isClosed()) throw new Error("the connection was lost during set-up");
      this.#session = session;
      log.info("connected to NATS", { server: nc.info?.version });
      void this.#watch(closed);
      return session;
    } catch (error) {
      log.warn("cannot connect to NATS", errorFields(error));
      throw error;
    }
  }

  async #watch(closed: Promise<void | Error>): Promise<void> {
    const error = await closed;
    this.#session = undefined;
    this.#options.log.info("NATS connection closed", error instanceof Error ? errorFields(error) : {});
    this.#options.onClosed();
  }

  /** Permission violations and the like are reported only here. */
  async #logErrors(nc: NatsConnection): Promise<void> {
    for await (const status of nc.status()) {
      if (status.type === "error") this.#options.log.warn("NATS error", errorFields(status.error));
    }
  }
}
