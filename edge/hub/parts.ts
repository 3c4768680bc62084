// The parts of a hub, and how they act on each other.

import type { Logger } from "@vqd/shared/log.ts";
import { type Config, configOf, type Variables } from "../config.ts";
import { type Tracing, tracingOf } from "../telemetry/tracing.ts";
import { consoleLogger } from "../telemetry/log.ts";
import { Archiver } from "./archive/archiver.ts";
import { ArchiveReader } from "./archive/reader.ts";
import { EventApplier } from "./events/apply.ts";
import { HubAlarm } from "./alarm.ts";
import { ChangeNotifier } from "./change-notifier.ts";
import { HubConnection } from "./nats/connection.ts";
import { OwnerRate } from "./admission/owner-rate.ts";
import { PredictionCreation } from "./admission/creation.ts";
import { StreamCursor } from "./nats/cursor.ts";
import { Dispatcher } from "./nats/dispatcher.ts";
import { Preemptor } from "./nats/preemptor.ts";
import { HubMetrics } from "./metrics.ts";
import { ModelRegistry } from "./nats/manifests.ts";
import { RouteTable } from "./nats/routes.ts";
import { Homes, type Neighbor } from "./homes.ts";
import { hubName, shardOf } from "./name.ts";
import { ReaderSlots } from "./sse/reader-slots.ts";
import { Readers } from "./sse/readers.ts";
import { isFinal } from "../prediction/statuses.ts";
import { ParkedEvents } from "./storage/parked-events.ts";
import { countingRows } from "./storage/database/counted.ts";
import { migrate } from "./storage/database/schema.ts";
import { WriteBehind } from "./storage/steps/write-behind.ts";
import { PredictionStore } from "./storage/store.ts";
import { Inputs } from "./inputs.ts";
import { Uploads } from "./uploads.ts";
import { soon } from "../util/soon.ts";
import { HubStatus } from "./status.ts";
import { WebhookSender } from "./webhooks/sender.ts";

/** The hubs, as they see each other. */
interface HubNamespace {
  idFromName(name: string): DurableObjectId;
  get(id: DurableObjectId): Neighbor;
}

export interface HubEnv extends Variables {
  readonly HUB: HubNamespace;
  /** Images of predictions, and files for them. */
  readonly FILES: R2Bucket;
}

/** How soon is looked at what follows from steps. */
const FOLLOW_MS = 20;

export class HubParts {
  readonly config: Config;
  readonly log: Logger;
  readonly store: PredictionStore;
  readonly models: ModelRegistry;
  readonly parked: ParkedEvents;
  readonly changes = new ChangeNotifier();
  readonly archiver: Archiver;
  readonly archive: ArchiveReader;
  readonly alarm: HubAlarm;
  readonly applier: EventApplier;
  readonly connection: HubConnection;
  readonly dispatcher: Dispatcher;
  readonly preemptor: Preemptor;
  readonly readers: Readers;
  readonly webhooks: WebhookSender;
  readonly uploads: Uploads;
  readonly creation: PredictionCreation;
  readonly status: HubStatus;
  readonly tracing: Tracing;
  readonly metrics = new HubMetrics();
  readonly slots = new ReaderSlots();
  readonly homes: Homes;
  readonly reads: OwnerRate;
  readonly redeliveries: OwnerRate;
  readonly #ctx: DurableObjectState;
  /** The same of steps, of which there may be thousands a second. */
  readonly #followSoon = soon(FOLLOW_MS, () => this.#follow());

  constructor(ctx: DurableObjectState, env: HubEnv) {
    this.#ctx = ctx;
    const storage = countingRows(ctx.storage, (rows) =>
      this.metrics.count("vqd_hub_rows_written_total", undefined, rows),
    );
    migrate(storage);
    const config = configOf(env);
    const store = new PredictionStore(storage);
    const cursor = new StreamCursor(store);
    const shard = shardOf(ctx, store);
    const log = consoleLogger(config.logLevel).with({ part: "hub", shard });
    const routes = new RouteTable(storage, log);
    const models = new ModelRegistry(storage, routes, this.metrics, log);
    this.config = config;
    this.reads = new OwnerRate(config.readsPerMinute, "reads");
    this.redeliveries = new OwnerRate(config.redeliveriesPerMinute, "redeliveries");
    this.tracing = tracingOf(config);
    this.store = store;
    this.log = log;
    this.models = models;
    this.parked = new ParkedEvents(storage);
    this.homes = new Homes({
      storage,
      neighbor: (other) => env.HUB.get(env.HUB.idFromName(hubName(other))),
      meta: { get: (name) => store.meta(name), set: (name, value) => store.setMeta(name, value) },
    });
    this.archive = new ArchiveReader({ store, bucket: env.FILES, reads: this.reads, log });
    this.archiver = new Archiver({
      store,
      bucket: env.FILES,
      retention: config,
      metrics: this.metrics,
      log,
    });
    this.alarm = new HubAlarm(ctx, store, this.archiver, config);
    this.status = new HubStatus({ store, models, connection: () => this.connection, log });
    const behind = new WriteBehind({
      store,
      cursor,
      log,
      onUnwritable: (id, error) => this.applier.failUnwritable(id, error),
    });
    store.isBehind = store.liveCount() > 0;
    this.applier = new EventApplier({
      shard,
      store,
      cursor,
      parked: this.parked,
      models,
      files: env.FILES,
      tracing: this.tracing,
      metrics: this.metrics,
      log,
      onApplied: () => behind.note(),
      onHeard: ({ version }, at) => this.status.noteHeard(version, at),
      onChanged: (id, change) => {
        this.changes.notify(id, change);
        if (change === "step") this.#followSoon();
        else this.#follow();
      },
      onStarted: (row) => this.preemptor.noteStarted(row),
      onEnded: (id) => {
        this.settle([id]);
        ctx.waitUntil(this.tracing.flush(log));
      },
      onOrphan: (place, row, event) => this.connection.stopOrphan(place, row, event),
    });
    this.webhooks = new WebhookSender({
      predictions: store,
      store: store.webhooks,
      config,
      metrics: this.metrics,
      log,
      inBackground: (work) => ctx.waitUntil(work),
      onScheduled: () => this.alarm.arm(),
    });
    this.uploads = new Uploads({
      shard,
      config,
      store,
      bucket: env.FILES,
      log,
      onStored: () => this.alarm.arm(),
    });
    this.connection = new HubConnection({
      config,
      name: `vqd-${hubName(shard)}`,
      shard,
      store,
      cursor,
      models,
      metrics: this.metrics,
      apply: (message) => this.applier.apply(message),
      room: () => this.applier.room(),
      onReady: () => {
        store.isBehind = false;
        this.dispatcher.dispatchHeld();
      },
      log,
    });
    const inputs = new Inputs({ config, store, bucket: env.FILES, log });
    this.dispatcher = new Dispatcher({
      store,
      inputs,
      connection: this.connection,
      tracing: this.tracing,
      metrics: this.metrics,
      log,
      ahead: config.dispatchAhead,
      hasReceipts: config.receiptKey !== undefined,
      inBackground: (work) => ctx.waitUntil(work),
      isReserved: (version) => this.preemptor.isReserving(version),
      onWaiting: () => this.preemptor.check(),
      onReleasable: () => ctx.waitUntil(this.connection.release()),
      onDropped: (id) => this.settle([id]),
    });
    this.preemptor = new Preemptor({
      store,
      connection: this.connection,
      dispatcher: this.dispatcher,
      metrics: this.metrics,
      log,
      inBackground: (work) => ctx.waitUntil(work),
    });
    this.creation = new PredictionCreation({
      config,
      store,
      connection: this.connection,
      dispatcher: this.dispatcher,
      inputs,
      reads: this.reads,
      databaseBytes: () => ctx.storage.sql.databaseSize,
      onStored: () => this.alarm.arm(),
    });
    this.readers = new Readers({
      store,
      changes: this.changes,
      slots: this.slots,
      openings: new OwnerRate(config.readsPerMinute, "event streams"),
      log,
    });
  }

  /** What may follow from any change: others can start, webhooks are due. */
  #follow(): void {
    this.dispatcher.dispatchHeld();
    this.webhooks.pump();
    this.alarm.arm();
  }

  /** Everything that follows from the end of predictions: notifies readers, frees the queue, sends webhooks. */
  settle(ids: readonly string[]): void {
    if (ids.length === 0) return;
    for (const id of ids) {
      this.changes.notify(id);
      const status = this.store.get(id)?.status;
      if (status !== undefined && isFinal(status)) this.metrics.count("vqd_hub_predictions_total", status);
    }
    this.dispatcher.storeSequences();
    this.dispatcher.dispatchHeld();
    this.#ctx.waitUntil(this.connection.release());
    this.webhooks.pump();
    this.alarm.arm();
  }
}
