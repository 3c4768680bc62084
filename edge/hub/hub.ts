// The hub, a Durable Object: owns the predictions of a shard, their queue, their events and their readers.

import { DurableObject } from "cloudflare:workers";
import { decodeEvent, decodeJob, type Framed } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { isTerminalEvent, type PredictionEvent } from "@vqd/shared/events.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import { type Config, configOf, type Env } from "../env.ts";
import { consoleLogger } from "../log.ts";
import { Changes } from "./changes.ts";
import { StreamCursor } from "./cursor.ts";
import { failOverdue, nextAlarm } from "./deadlines.ts";
import { deleteOutputs, putOutput } from "./files.ts";
import { EventFollower, type StreamMessage } from "./follow.ts";
import { endPrediction, ingest, isFenced } from "./ingest.ts";
import { ModelRegistry } from "./models.ts";
import { CONNECT_TIMEOUT_MS, NatsLink, type Session } from "./nats.ts";
import { cancelWorker, deleteJob, PublishError, publishJob } from "./queue.ts";
import {
  type HubHealth,
  type HubResult,
  isFinal,
  type NewPrediction,
  type PredictionRecord,
  toHubError,
} from "./records.ts";
import { migrate } from "./schema.ts";
import { eventStream } from "./sse.ts";
import { PredictionStore, type PredictionRow } from "./store.ts";
import { formatEvent, parseStreamQuery } from "./stream-request.ts";

/** Without a live prediction the connection, which is billed, stays open for this long. */
const IDLE_CLOSE_MS = 30_000;
const RECONNECT_MIN_MS = 200;
const RECONNECT_MAX_MS = 5_000;
/** After an eviction: how long overdue predictions may wait for what happened meanwhile. */
const CATCH_UP_TIMEOUT_MS = 3_000;
/** Files that one alarm removes at most, so that it stays short. */
const EXPIRE_BATCH = 100;

/** A hub's name tells its shard. */
export const hubName = (shard: number): string => `hub-${shard}`;

export class Hub extends DurableObject<Env> {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #store: PredictionStore;
  readonly #cursor: StreamCursor;
  readonly #models: ModelRegistry;
  readonly #changes = new Changes();
  readonly #link: NatsLink;
  #follower: EventFollower | undefined;
  #idleTimer: number | null = null;
  #reconnectTimer: number | null = null;
  #reconnectDelayMs = RECONNECT_MIN_MS;
  /** Predictions whose worker has been told to stop since the last session began. */
  readonly #told = new Set<string>();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    migrate(ctx.storage);
    this.#config = configOf(env);
    this.#store = new PredictionStore(ctx.storage);
    const shard = this.#shard();
    this.#log = consoleLogger(this.#config.logLevel).with({ part: "hub", shard });
    this.#cursor = new StreamCursor(this.#store);
    this.#models = new ModelRegistry(ctx.storage, this.#log);
    this.#link = new NatsLink({
      url: this.#config.natsUrl,
      user: this.#config.natsUser,
      password: this.#config.natsPassword,
      name: `vqd-${hubName(shard)}`,
      log: this.#log,
      onOpen: (session) => this.#onOpen(session, shard),
      onClosed: () => this.#onClosed(),
    });
    // After an eviction or a deploy: go on with what is live.
    if (this.#isNeeded()) this.#scheduleReconnect(0);
  }

  /** Stores and dispatches a prediction. Without an `ok` nothing of it is left. */
  async create(request: NewPrediction): Promise<HubResult<PredictionRecord>> {
    return this.#answer(async () => {
      const session = await this.#link.open();
      const job = decodeJob(request.job);
      this.#store.atomically(() => {
        this.#store.insert(job, request);
        if (request.promptTruncated) {
          this.#store.appendLog(job.id, "The prompt is longer than the model reads and has been cut.\n");
        }
      });
      this.#armAlarm();
      try {
        const sequence = await publishJob(session, job);
        this.#store.update(job.id, { job_seq: sequence });
      } catch (error) {
        this.#dropUnpublished(job.id, error);
        throw error;
      }
      this.#log.info("dispatched", { prediction: job.id, requestId: request.requestId });
      return this.#mustGet(job.id);
    });
  }

  async get(id: string, keyName: string): Promise<HubResult<PredictionRecord>> {
    return this.#answer(() => this.#owned(id, keyName));
  }

  /** The prediction as soon as it has ended, at the latest after `timeoutMs`. */
  async wait(id: string, keyName: string, timeoutMs: number): Promise<HubResult<PredictionRecord>> {
    return this.#answer(async () => {
      const until = Date.now() + timeoutMs;
      for (;;) {
        const row = this.#owned(id, keyName);
        const left = until - Date.now();
        if (isFinal(row.status) || left <= 0) return row;
        await this.#changes.next(id, left);
      }
    });
  }

  /** Ends the prediction as canceled, at once and for good; one that has ended stays as it is. */
  async cancel(id: string, keyName: string): Promise<HubResult<PredictionRecord>> {
    return this.#answer(() => {
      const row = this.#owned(id, keyName);
      if (isFinal(row.status)) return row;
      this.#store.atomically(() =>
        endPrediction(this.#store, id, { status: "canceled", at: Date.now(), release: true }),
      );
      this.#log.info("canceled", { prediction: id });
      this.#ended([id]);
      return this.#mustGet(id);
    });
  }

  /** Announced models, read anew from NATS now and then; the last known ones while NATS is down. */
  async models(): Promise<ModelManifest[]> {
    try {
      const session = await this.#link.open();
      this.#armIdleClose();
      if (this.#models.isStale) await this.#models.sync(session.jsm);
    } catch (error) {
      this.#log.warn("models as last known", errorFields(error));
    }
    return this.#models.list();
  }

  async health(): Promise<HubHealth> {
    const nats = await this.#link.open().then(
      () => "connected" as const,
      () => "unreachable" as const,
    );
    this.#armIdleClose();
    return { nats, live: this.#store.liveCount() };
  }

  /** A prediction's event stream; the request handlers have checked the key, if the URL names one. */
  override async fetch(request: Request): Promise<Response> {
    const query = parseStreamQuery(new URL(request.url));
    const row = this.#store.get(query.id);
    const allowed =
      row !== undefined &&
      ("keyName" in query ? row.keyName === query.keyName : row.streamCapability === query.capability);
    if (!allowed) return new Response(null, { status: 404 });
    if (isFinal(row.status) && this.#store.eventsAfter(row.id, query.after, 1).length === 0) {
      // Tells an EventSource that has seen the end not to come back.
      return new Response(null, { status: 204 });
    }
    const source = {
      read: (seq: number, limit: number) => this.#store.eventsAfter(row.id, seq, limit),
      isLive: () => this.#store.get(row.id)?.completedAt === null,
      changed: (timeoutMs: number, signal: AbortSignal) => this.#changes.next(row.id, timeoutMs, signal),
      format: formatEvent(row, query),
    };
    return new Response(eventStream(source, query.after, request.signal), {
      headers: {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
      },
    });
  }

  override async alarm(): Promise<void> {
    try {
      await this.#catchUp();
      const now = Date.now();
      this.#ended(failOverdue(this.#store, now));
      await this.#expire(now);
      await this.#release();
    } catch (error) {
      this.#log.error("alarm failed", errorFields(error));
    }
    // Whatever happened: an alarm that is not set again never comes.
    this.#armAlarm();
  }

  /** Makes one message of the events stream take effect. */
  async apply(message: StreamMessage): Promise<void> {
    const id = message.subject.slice(message.subject.lastIndexOf(".") + 1);
    const framed = this.#decode(message);
    const before = this.#store.get(id);
    if (framed === undefined || before === undefined) {
      this.#cursor.advance(message.sequence);
      if (framed !== undefined) this.#stopOrphan(id, before, framed.value);
      return;
    }
    const { value: event, attachment } = framed;
    let failure: unknown;
    if (event.type === "output" && !isFenced(before, event)) {
      await putOutput(this.env.FILES, before, event, attachment).catch((error: unknown) => {
        failure = error;
      });
    }
    // The row may have changed while the file was stored.
    const row = this.#store.get(id) ?? before;
    const changed = this.#store.atomically(() => {
      this.#cursor.advance(message.sequence);
      if (failure === undefined) return ingest(this.#store, row, event, attachment);
      if (isFinal(row.status)) return false;
      const error = { code: "internal", message: "an image could not be stored" } as const;
      endPrediction(this.#store, id, { status: "failed", at: Date.now(), error, release: true });
      return true;
    });
    if (failure !== undefined)
      this.#log.error("cannot store an image", { prediction: id, ...errorFields(failure) });
    const after = this.#store.get(id);
    if (after !== undefined && after.completedAt !== null && before.completedAt === null) {
      this.#log.info("ended", { prediction: id, status: after.status, code: after.errorCode });
      this.#ended([id]);
    } else if (changed) {
      this.#changes.notify(id);
    }
    this.#stopOrphan(id, before, event);
  }

  #decode(message: StreamMessage): Framed<PredictionEvent> | undefined {
    try {
      return decodeEvent(message.data);
    } catch (error) {
      this.#log.warn("event ignored", { subject: message.subject, ...errorFields(error) });
      return undefined;
    }
  }

  /** A worker that works for nobody, since the prediction has ended or is unknown, is told so once. */
  #stopOrphan(id: string, row: PredictionRow | undefined, event: PredictionEvent): void {
    const isWanted = row !== undefined && (row.completedAt === null || row.status === "succeeded");
    if (isWanted || isTerminalEvent(event) || this.#told.has(`${id} ${event.attempt}`)) return;
    const session = this.#link.session;
    // Old events are read again after a loss of the cursor; their workers are long done.
    if (session === undefined || event.at < Date.now() - this.#config.runTimeoutMs) return;
    this.#told.add(`${id} ${event.attempt}`);
    cancelWorker(session, id);
  }

  /** The job was not taken, or nobody knows: then it stays as failed, so that its worker is stopped. */
  #dropUnpublished(id: string, error: unknown): void {
    const isAmbiguous = error instanceof PublishError ? error.isAmbiguous : true;
    this.#store.atomically(() => {
      if (!isAmbiguous) return this.#store.remove(id);
      const reason = {
        code: "queue_unavailable",
        message: "the job queue did not confirm the prediction",
      } as const;
      endPrediction(this.#store, id, { status: "failed", at: Date.now(), error: reason, release: true });
    });
    this.#log.warn("not dispatched", { prediction: id, isAmbiguous, ...errorFields(error) });
    this.#ended([id]);
  }

  /** Settles what follows from the end of predictions: readers, queue, timers. */
  #ended(ids: readonly string[]): void {
    for (const id of ids) this.#changes.notify(id);
    if (ids.length === 0) return;
    this.ctx.waitUntil(this.#release());
    this.#armAlarm();
    this.#armIdleClose();
  }

  /** Takes ended predictions' jobs out of the queue, or stops their workers. Retried with the next session. */
  async #release(): Promise<void> {
    const { session } = this.#link;
    if (session === undefined) return;
    for (const row of this.#store.toRelease()) {
      try {
        cancelWorker(session, row.id);
        if (row.jobSeq !== null) await deleteJob(session, row.jobSeq);
        this.#store.update(row.id, { release: 0 });
      } catch (error) {
        this.#log.warn("job not taken back yet", { prediction: row.id, ...errorFields(error) });
      }
    }
  }

  async #onOpen(session: Session, shard: number): Promise<void> {
    this.#told.clear();
    this.#models.follow(session.nc);
    const follower = new EventFollower({
      session,
      shard,
      cursor: this.#cursor,
      handle: (message) => this.apply(message),
      log: this.#log,
    });
    await follower.start();
    this.#follower?.stop();
    this.#follower = follower;
    await this.#models.sync(session.jsm).catch((error: unknown) => {
      this.#log.warn("cannot read models", errorFields(error));
    });
    this.#reconnectDelayMs = RECONNECT_MIN_MS;
    this.#armIdleClose();
  }

  #onClosed(): void {
    this.#follower?.stop();
    this.#follower = undefined;
    if (this.#isNeeded()) this.#scheduleReconnect();
  }

  #isNeeded(): boolean {
    return this.#store.liveCount() > 0 || this.#store.toRelease().length > 0;
  }

  #scheduleReconnect(delayMs = this.#reconnectDelayMs): void {
    clearTimeout(this.#reconnectTimer);
    this.#reconnectDelayMs = Math.min(this.#reconnectDelayMs * 2, RECONNECT_MAX_MS);
    this.#reconnectTimer = setTimeout(() => {
      this.#link.open(CONNECT_TIMEOUT_MS * 2).then(
        () => this.#release(),
        () => this.#isNeeded() && this.#scheduleReconnect(),
      );
    }, delayMs);
  }

  /** Before deadlines are judged: hear what happened while the hub was away. */
  async #catchUp(): Promise<void> {
    if (!this.#isNeeded()) return;
    try {
      await this.#link.open();
      const timeout = new Promise((resolve) => setTimeout(resolve, CATCH_UP_TIMEOUT_MS));
      await Promise.race([this.#follower?.caughtUp, timeout]);
    } catch (error) {
      this.#log.warn("judging deadlines without the queue", errorFields(error));
    }
  }

  async #expire(now: number): Promise<void> {
    const { stepRetentionMs, fileRetentionMs, recordRetentionMs } = this.#config;
    this.#store.atomically(() => this.#store.expireSteps(now - stepRetentionMs));
    for (const row of this.#store.withExpiredFiles(now - fileRetentionMs, EXPIRE_BATCH)) {
      await deleteOutputs(this.env.FILES, row);
      this.#store.update(row.id, { files_expired: 1 });
    }
    this.#store.atomically(() => this.#store.expireRecords(now - recordRetentionMs));
  }

  #armAlarm(): void {
    const at = nextAlarm(this.#store, this.#config, Date.now());
    if (at !== null) this.ctx.waitUntil(this.ctx.storage.setAlarm(at));
  }

  #armIdleClose(): void {
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => {
      if (this.#isNeeded()) this.#armIdleClose();
      else void this.#link.close();
    }, IDLE_CLOSE_MS);
  }

  #mustGet(id: string): PredictionRow {
    const row = this.#store.get(id);
    if (row === undefined) throw new VqdError("internal", "the prediction is gone");
    return row;
  }

  /** The prediction if the key made it: others do not learn that it exists. */
  #owned(id: string, keyName: string): PredictionRow {
    const row = this.#store.get(id);
    if (row === undefined || row.keyName !== keyName) {
      throw new VqdError("not_found", "there is no such prediction");
    }
    return row;
  }

  #shard(): number {
    const name = this.ctx.id.name ?? this.#store.meta("name");
    if (name === undefined) throw new VqdError("internal", "a hub is addressed by its name");
    if (this.#store.meta("name") === undefined) this.#store.setMeta("name", name);
    return Number(name.slice(hubName(0).length - 1));
  }

  async #answer(
    work: () => PredictionRecord | Promise<PredictionRecord>,
  ): Promise<HubResult<PredictionRecord>> {
    try {
      return { ok: true, value: await work() };
    } catch (error) {
      if (error instanceof VqdError) return { ok: false, error: toHubError(error) };
      this.#log.error("unexpected", errorFields(error));
      return { ok: false, error: toHubError(new VqdError("internal", "something went wrong in the hub")) };
    }
  }
}
