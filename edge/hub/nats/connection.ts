// Manages the hub's connection to NATS: connected while predictions are live, following events, releasing ended jobs.

import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { isTerminalEvent, type PredictionEvent } from "@vqd/shared/events.ts";
import { type EventPlace, STREAMS } from "@vqd/shared/subjects.ts";
import type { Config } from "../../config.ts";
import type { StreamCursor } from "./cursor.ts";
import { EventFollower, type StreamMessage } from "./follow.ts";
import { distanceOf, type EventsDistance, EventsPosition, type StreamEnd } from "./position.ts";
import type { HubMetrics } from "../metrics.ts";
import type { ModelRegistry } from "./manifests.ts";
import { CONNECT_TIMEOUT_MS, NatsLink, type NatsSession } from "./session.ts";
import { askToYield, cancelWorker, deleteJob } from "./queue.ts";
import type { HubHealth } from "../../prediction/records.ts";
import { keyOf, type PredictionRow } from "../storage/prediction-row.ts";
import type { PredictionStore } from "../storage/store.ts";
import { soon } from "../../util/soon.ts";

/** How long the connection, which is billed, stays open without a live prediction. */
const IDLE_CLOSE_MS = 30_000;
const RECONNECT_MIN_MS = 200;
const RECONNECT_MAX_MS = 5_000;
const RELEASE_RETRY_MS = 2_000;
/** How long overdue predictions may wait for events that happened while the hub was evicted. */
const CATCH_UP_TIMEOUT_MS = 3_000;
/**
 * A server that is killed forgets acknowledgements that it has not written to disk, which it does at least every two minutes: the
 * jobs of predictions that have ended since are in its queue again.
 */
const FORGOTTEN_MS = 150_000;
/** How many attempts to remember as already told to stop. Telling one twice does no harm. */
const MAX_TOLD = 1_000;

export interface HubConnectionOptions {
  readonly config: Config;
  /** Client name, shown in the server's monitoring. */
  readonly name: string;
  readonly shard: number;
  readonly store: PredictionStore;
  readonly cursor: StreamCursor;
  readonly models: ModelRegistry;
  readonly metrics: HubMetrics;
  readonly apply: (message: StreamMessage) => Promise<void>;
  /** See FollowerOptions. */
  readonly room: () => Promise<void> | undefined;
  /** Called once the events so far have been applied, after each opening. */
  readonly onReady: () => void;
  readonly log: Logger;
}

export class HubConnection {
  readonly #options: HubConnectionOptions;
  readonly #link: NatsLink;
  #follower: EventFollower | undefined;
  readonly #position = new EventsPosition();
  /** As of the last time it was asked for. */
  #streamEnd: StreamEnd | undefined;
  #idleTimer: number | null = null;
  #reconnectTimer: number | null = null;
  #reconnectDelayMs = RECONNECT_MIN_MS;
  #releasing: Promise<void> | undefined;
  readonly #releaseSoon = soon(RELEASE_RETRY_MS, () => void this.release());
  readonly #told = new Set<string>();
  /** Whether the last session has ended by itself, or may have. */
  #wasLost = true;

  constructor(options: HubConnectionOptions) {
    this.#options = options;
    const { config, name, log } = options;
    this.#link = new NatsLink({
      urls: config.natsUrls,
      user: config.natsUser,
      password: config.natsPassword,
      credentials: config.natsCredentials,
      name,
      log,
      onOpen: (session) => this.#onOpen(session),
      onClosed: () => this.#onClosed(),
    });
    this.#position.stopped(Date.now());
    // After an eviction or a deployment, resume following live predictions.
    if (this.#isNeeded()) this.#scheduleReconnect(0);
  }

  /** A session that follows the shard's events. Throws a VqdError (queue_unavailable). */
  async open(): Promise<NatsSession> {
    const session = await this.#link.open();
    this.#armIdleClose();
    return session;
  }

  get isOpen(): boolean {
    return this.#link.session !== undefined;
  }

  /** Whether a job could be dispatched now: NATS accepts connections, and its streams have a leader. */
  async check(): Promise<HubHealth["nats"]> {
    let session: NatsSession;
    try {
      session = await this.open();
    } catch {
      return "unreachable";
    }
    try {
      await session.jsm.streams.info(STREAMS.events);
      return "connected";
    } catch {
      return "unavailable";
    }
  }

  /**
   * How far the hub is from the oldest event that is kept; undefined if it needs none. Opens no connection: without one, the stream
   * is taken to keep events for as long as it did.
   */
  async eventsDistance(): Promise<EventsDistance | undefined> {
    const { session } = this.#link;
    if (session === undefined && !this.#isNeeded()) return undefined;
    const state = await session?.jsm.streams.info(STREAMS.events).then(
      (info) => info.state,
      () => undefined,
    );
    if (state !== undefined) {
      const { first_seq: firstSequence, last_seq: lastSequence, messages, first_ts: firstAt } = state;
      const ageMs = Date.now() - Date.parse(firstAt);
      this.#streamEnd = { firstSequence, lastSequence, messages, ageMs };
    }
    const { sequence } = this.#options.cursor;
    return distanceOf(this.#position.behindSince, sequence, this.#streamEnd, Date.now());
  }

  /** Applies all events so far, if NATS can be reached; called before deadlines are enforced. */
  async catchUp(): Promise<void> {
    if (!this.#isNeeded()) return;
    try {
      await this.#link.open();
      const timeout = new Promise((resolve) => setTimeout(resolve, CATCH_UP_TIMEOUT_MS));
      await Promise.race([this.#follower?.caughtUp, timeout]);
    } catch (error) {
      this.#options.log.warn("NATS unreachable; still enforcing deadlines", errorFields(error));
    }
  }

  /**
   * Removes the jobs of ended predictions from the queue, or stops their workers. What fails is tried again soon, and with the
   * next session.
   */
  release(): Promise<void> {
    // Not at once: what it sets must be set before it ends.
    this.#releasing ??= Promise.resolve().then(() => this.#releaseAll());
    return this.#releasing;
  }

  async #releaseAll(): Promise<void> {
    const { store, log } = this.#options;
    const failed = new Set<string>();
    const next = (): PredictionRow[] => store.toRelease().filter(({ id }) => !failed.has(id));
    try {
      for (let rows = next(); rows.length > 0; rows = next()) {
        for (const row of rows) {
          const { session } = this.#link;
          if (session === undefined) return;
          try {
            for (const key of [keyOf(row), undefined]) cancelWorker(session, row.id, key);
            if (row.jobSeq !== null) await deleteJob(session, row.jobSeq);
            store.released(row.id, row.jobSeq);
          } catch (error) {
            failed.add(row.id);
            const fields = { prediction: row.id, ...errorFields(error) };
            log.warn("cannot remove a job yet; trying again later", fields);
          }
        }
      }
    } finally {
      // Nothing is awaited between the last look and this, so that nobody is referred to a round that does not look any more.
      this.#releasing = undefined;
      if (failed.size > 0) this.#releaseSoon();
      this.#armIdleClose();
    }
  }

  /** Asks the worker that has the prediction to hand it back; without a session it is not heard. */
  askToYield(row: PredictionRow): void {
    const { session } = this.#link;
    if (session !== undefined) askToYield(session, row.id, keyOf(row), row.attempt);
  }

  /** Tells a worker once to stop if its prediction has ended or is unknown. */
  stopOrphan(
    { predictionId: id, modelKey: key }: EventPlace,
    row: PredictionRow | undefined,
    event: PredictionEvent,
  ): void {
    const isWanted = row !== undefined && (row.completedAt === null || row.status === "succeeded");
    const attempt = `${id} ${event.attempt}`;
    if (isWanted || isTerminalEvent(event) || this.#told.has(attempt)) return;
    const { session } = this.#link;
    // Old events are replayed after a loss of the cursor; their workers have long finished.
    if (session === undefined || event.at < Date.now() - this.#options.config.runTimeoutMs) return;
    if (this.#told.size >= MAX_TOLD) this.#told.clear();
    this.#told.add(attempt);
    // Under the subject of its own model only: a worker must not have those of others stopped.
    cancelWorker(session, id, key);
  }

  async #onOpen(session: NatsSession): Promise<void> {
    const { shard, cursor, models, metrics, apply, room, onReady, log } = this.#options;
    metrics.count("vqd_hub_nats_connections_total");
    models.follow(session);
    const position = this.#position;
    const follower = new EventFollower({ session, shard, cursor, position, handle: apply, room, log });
    await follower.start();
    this.#follower?.stop();
    this.#follower = follower;
    await models.sync(session.jsm).catch((error: unknown) => {
      log.warn("cannot read model manifests", errorFields(error));
    });
    if (this.#wasLost) this.#options.store.releaseAgain(Date.now() - FORGOTTEN_MS);
    this.#wasLost = true;
    this.#reconnectDelayMs = RECONNECT_MIN_MS;
    this.#armIdleClose();
    void follower.caughtUp.then(onReady);
    // Once this session is the link's. If it never is, the next one does it.
    setTimeout(() => void this.release(), 0);
  }

  #onClosed(): void {
    this.#follower?.stop();
    this.#follower = undefined;
    if (this.#isNeeded()) this.#scheduleReconnect();
  }

  #isNeeded(): boolean {
    const { store } = this.#options;
    return store.liveCount() > 0 || store.toRelease().length > 0;
  }

  #scheduleReconnect(delayMs = this.#reconnectDelayMs): void {
    clearTimeout(this.#reconnectTimer);
    this.#reconnectDelayMs = Math.min(this.#reconnectDelayMs * 2, RECONNECT_MAX_MS);
    this.#reconnectTimer = setTimeout(() => {
      this.#link.open(CONNECT_TIMEOUT_MS * 2).then(
        () => this.release(),
        () => this.#isNeeded() && this.#scheduleReconnect(),
      );
    }, delayMs);
  }

  #armIdleClose(): void {
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => {
      if (this.#isNeeded()) this.#armIdleClose();
      else {
        this.#wasLost = false;
        void this.#link.close();
      }
    }, IDLE_CLOSE_MS);
  }
}
