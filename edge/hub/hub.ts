// The hub, a Durable Object that owns the predictions of a shard: their jobs, events, readers and webhooks.

import { DurableObject } from "cloudflare:workers";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import { type Config, configOf, type Variables } from "../config.ts";
import { type Tracing, tracingOf } from "../telemetry/tracing.ts";
import { consoleLogger } from "../telemetry/log.ts";
import { EventApplier } from "./apply.ts";
import { HubAlarm } from "./alarm.ts";
import { asResult } from "./rpc-result.ts";
import { ChangeNotifier } from "./change-notifier.ts";
import { HubConnection } from "./nats/connection.ts";
import { PredictionCreation } from "./admission/creation.ts";
import { StreamCursor } from "./nats/cursor.ts";
import { endOverdue } from "./deadlines.ts";
import { Dispatcher } from "./nats/dispatcher.ts";
import type { StreamMessage } from "./nats/follow.ts";
import { endPrediction } from "./ingest.ts";
import { listPredictions } from "./storage/list.ts";
import { getOwned, mustGet } from "./admission/lookup.ts";
import { HubMetrics, type Sample } from "./metrics.ts";
import { ModelRegistry } from "./nats/manifests.ts";
import type { PredictionRow } from "./storage/prediction-row.ts";
import { hubName, shardOf } from "./name.ts";
import { queuePlace } from "./admission/queue-place.ts";
import { ReaderSlots } from "./sse/reader-slots.ts";
import { Readers } from "./sse/readers.ts";
import type {
  CreatedPrediction,
  EventQuery,
  HubHealth,
  ListQuery,
  NewPrediction,
  PredictionPage,
  PredictionRecord,
  StoredEvent,
  WebhookLog,
} from "../prediction/records.ts";
import type { HubResult } from "../prediction/hub-result.ts";
import { isFinal } from "../prediction/statuses.ts";
import { ParkedEvents } from "./storage/parked-events.ts";
import { expire } from "./storage/retention.ts";
import { migrate } from "./storage/schema.ts";
import { PredictionStore } from "./storage/store.ts";
import { WebhookSender } from "./webhooks/sender.ts";

/** Maximum number of events that one call returns. */
const EVENT_BATCH = 16;

/** How long a check of NATS answers for the next ones. */
const HEALTH_CACHE_MS = 1_000;

export interface HubEnv extends Variables {
  /** Images of predictions. */
  readonly FILES: R2Bucket;
}

export class Hub extends DurableObject<HubEnv> {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #store: PredictionStore;
  readonly #models: ModelRegistry;
  readonly #parked: ParkedEvents;
  readonly #changes = new ChangeNotifier();
  readonly #alarm: HubAlarm;
  readonly #applier: EventApplier;
  readonly #connection: HubConnection;
  readonly #dispatcher: Dispatcher;
  readonly #readers: Readers;
  readonly #webhooks: WebhookSender;
  readonly #creation: PredictionCreation;
  readonly #tracing: Tracing;
  readonly #metrics = new HubMetrics();
  readonly #slots = new ReaderSlots();
  #checkedAt = -Infinity;
  #checked: Promise<HubHealth["nats"]> = Promise.resolve("unreachable");

  constructor(ctx: DurableObjectState, env: HubEnv) {
    super(ctx, env);
    migrate(ctx.storage);
    const config = configOf(env);
    const store = new PredictionStore(ctx.storage);
    const cursor = new StreamCursor(store);
    const shard = shardOf(ctx, store);
    const log = consoleLogger(config.logLevel).with({ part: "hub", shard });
    const models = new ModelRegistry(ctx.storage, this.#metrics, log);
    this.#config = config;
    this.#tracing = tracingOf(config);
    this.#store = store;
    this.#log = log;
    this.#models = models;
    this.#parked = new ParkedEvents(ctx.storage);
    this.#alarm = new HubAlarm(ctx, store, config);
    this.#applier = new EventApplier({
      shard,
      store,
      cursor,
      parked: this.#parked,
      models,
      files: env.FILES,
      tracing: this.#tracing,
      metrics: this.#metrics,
      log,
      onChanged: (id) => {
        this.#changes.notify(id);
        this.#webhooks.pump();
        this.#alarm.arm();
      },
      onEnded: (id) => {
        this.#settle([id]);
        ctx.waitUntil(this.#tracing.flush(log));
      },
      onOrphan: (id, row, event) => this.#connection.stopOrphan(id, row, event),
    });
    this.#webhooks = new WebhookSender({
      predictions: store,
      store: store.webhooks,
      config,
      metrics: this.#metrics,
      log,
      inBackground: (work) => ctx.waitUntil(work),
      onScheduled: () => this.#alarm.arm(),
    });
    this.#connection = new HubConnection({
      config,
      name: `vqd-${hubName(shard)}`,
      shard,
      store,
      cursor,
      models,
      metrics: this.#metrics,
      apply: (message) => this.apply(message),
      log,
    });
    this.#dispatcher = new Dispatcher({
      store,
      connection: this.#connection,
      tracing: this.#tracing,
      metrics: this.#metrics,
      log,
      onDropped: (id) => this.#settle([id]),
    });
    this.#creation = new PredictionCreation({
      store,
      connection: this.#connection,
      dispatcher: this.#dispatcher,
      onStored: () => this.#alarm.arm(),
    });
    this.#readers = new Readers({ store, changes: this.#changes, slots: this.#slots, log });
  }

  /**
   * Stores and dispatches a prediction, or returns the one that the same idempotent request created before. After an error
   * it will not be made. Errors: queue_full, queue_unavailable, idempotency_key_reused, rate_limited, too_many_live.
   */
  create(request: NewPrediction): Promise<HubResult<CreatedPrediction>> {
    const options = { parent: request.traceparent, attributes: { "vqd.request_id": request.requestId } };
    const created = this.#tracing.traced("create prediction", options, (parent) =>
      this.#create(request, parent),
    );
    this.ctx.waitUntil(
      created.then((result) => {
        if (!result.ok) this.#metrics.count("vqd_hub_refused_total", result.error.code);
        return this.#tracing.flush(this.#log);
      }),
    );
    return created;
  }

  #create(request: NewPrediction, parent: string | undefined): Promise<HubResult<CreatedPrediction>> {
    return this.#result(async () => {
      const { row, rate } = await this.#creation.create(request, parent);
      return { record: this.#record(row), rate };
    });
  }

  /** A page of the predictions of the key's owner. */
  async list(keyName: string, query: ListQuery): Promise<PredictionPage> {
    return listPredictions(this.#store, keyName, query);
  }

  /** The prediction. This and the other methods answer not_found unless the key's owner created it. */
  get(id: string, keyName: string): Promise<HubResult<PredictionRecord>> {
    return this.#answer(() => this.#owned(id, keyName));
  }

  /** The prediction once it has ended, or as it is after `timeoutMs`. Errors: too_many_readers, unless it `continues`. */
  wait(
    id: string,
    keyName: string,
    timeoutMs: number,
    continues: boolean,
  ): Promise<HubResult<PredictionRecord>> {
    return this.#answer(async () => {
      const ended = await this.#slots.hold(keyName, continues, () =>
        this.#changes.until(id, timeoutMs, () => {
          const row = this.#owned(id, keyName);
          return isFinal(row.status) ? row : undefined;
        }),
      );
      return ended ?? this.#owned(id, keyName);
    });
  }

  /**
   * The prediction's next events of the given types; none after `timeoutMs`. The last event is `done`. Errors:
   * too_many_readers, unless it `continues`.
   */
  events(query: EventQuery, timeoutMs: number, continues: boolean): Promise<HubResult<StoredEvent[]>> {
    return this.#result(async () => {
      const { id, keyName, types, after } = query;
      const events = await this.#slots.hold(keyName, continues, () =>
        this.#changes.until(id, timeoutMs, () => {
          this.#owned(id, keyName);
          const found = this.#store.events.ofTypes(id, types, after, EVENT_BATCH);
          return found.length > 0 ? found : undefined;
        }),
      );
      return events ?? [];
    });
  }

  /** Cancels the prediction, immediately and for good; one that has already ended does not change. */
  cancel(id: string, keyName: string): Promise<HubResult<PredictionRecord>> {
    return this.#answer(() => {
      const row = this.#owned(id, keyName);
      if (isFinal(row.status)) return row;
      this.#store.atomically(() =>
        endPrediction(this.#store, id, { status: "canceled", at: Date.now(), release: true }),
      );
      this.#log.info("canceled", { prediction: id });
      this.#settle([id]);
      return mustGet(this.#store, id);
    });
  }

  /** The secret that signs webhooks of the key's owner. */
  async webhookSecret(keyName: string): Promise<string> {
    return this.#store.webhooks.secrets(keyName, Date.now())[0] ?? "";
  }

  /** Replaces the secret; the old one also signs until `oldUntil`. */
  async rotateWebhookSecret(keyName: string): Promise<{ secret: string; oldUntil: number }> {
    return this.#store.atomically(() => this.#store.webhooks.rotate(keyName, Date.now()));
  }

  webhookLog(id: string, keyName: string): Promise<HubResult<WebhookLog>> {
    return this.#result(() => {
      const { webhook } = this.#owned(id, keyName);
      return { webhook, deliveries: this.#store.webhooks.log(id) };
    });
  }

  /** Sends the prediction's `completed` webhook again, with the same webhook-id. */
  redeliverWebhook(id: string, keyName: string): Promise<HubResult<null>> {
    return this.#result(() => {
      this.#owned(id, keyName);
      this.#webhooks.sendAgain(id);
      return null;
    });
  }

  /** The models that workers have announced; the last known ones while NATS is down. */
  models(): Promise<ModelManifest[]> {
    return this.#models.current(() => this.#connection.open());
  }

  async health(): Promise<HubHealth> {
    const now = Date.now();
    // Anyone may ask, as often as they like: JetStream is asked at most once a second.
    if (now - this.#checkedAt >= HEALTH_CACHE_MS) {
      this.#checkedAt = now;
      this.#checked = this.#connection.check();
    }
    return { nats: await this.#checked, live: this.#store.liveCount() };
  }

  /** Metrics for Prometheus. Opens no connection to NATS: scraping an idle hub must cost nothing. */
  async metrics(): Promise<Sample[]> {
    return this.#metrics.samples({
      vqd_hub_predictions_live: this.#store.liveByStatus(),
      vqd_hub_webhooks_pending: this.#store.webhooks.pendingCount(),
      vqd_hub_readers: this.#slots.count,
      vqd_hub_events_parked: this.#parked.count,
      vqd_hub_nats_connected: this.#connection.isOpen ? 1 : 0,
    });
  }

  /** A prediction's event stream. */
  override async fetch(request: Request): Promise<Response> {
    return this.#readers.open(request);
  }

  override async alarm(): Promise<void> {
    this.#alarm.clear();
    try {
      await this.#connection.catchUp();
      const now = Date.now();
      const overdue = endOverdue(this.#store, now);
      for (const id of overdue) this.#log.warn("overdue", { prediction: id });
      this.#settle(overdue);
      this.#webhooks.pump();
      await expire(this.#store, this.env.FILES, this.#config, now);
      await this.#connection.release();
    } catch (error) {
      this.#log.error("alarm failed", errorFields(error));
    }
    // In any case: an alarm that is not set again never fires.
    this.#alarm.arm();
  }

  /** Applies one message of the events stream. */
  apply(message: StreamMessage): Promise<void> {
    return this.#applier.apply(message);
  }

  /** Everything that follows from the end of predictions: notifies readers, frees the queue, sends webhooks. */
  #settle(ids: readonly string[]): void {
    if (ids.length === 0) return;
    for (const id of ids) {
      this.#changes.notify(id);
      const status = this.#store.get(id)?.status;
      if (status !== undefined && isFinal(status)) this.#metrics.count("vqd_hub_predictions_total", status);
    }
    this.#dispatcher.storeSequences();
    this.ctx.waitUntil(this.#connection.release());
    this.#webhooks.pump();
    this.#alarm.arm();
  }

  #record(row: PredictionRow): PredictionRecord {
    return { ...row, queue: queuePlace(this.#store, row) };
  }

  /** The prediction as a record, or the error. */
  #answer(work: () => PredictionRow | Promise<PredictionRow>): Promise<HubResult<PredictionRecord>> {
    return this.#result(async () => this.#record(await work()));
  }

  #owned(id: string, keyName: string): PredictionRow {
    return getOwned(this.#store, id, keyName);
  }

  #result<T>(work: () => T | Promise<T>): Promise<HubResult<T>> {
    return asResult(this.#log, work);
  }
}
