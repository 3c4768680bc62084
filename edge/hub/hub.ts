// The hub, a Durable Object that owns the predictions of a shard: their jobs, events, readers and webhooks.

import { DurableObject } from "cloudflare:workers";
import type { Quotas } from "@vqd/shared/api-key.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { newCapability } from "@vqd/shared/ids.ts";
import { errorFields } from "@vqd/shared/log.ts";
import type { FilePage, FileRecord, NewFile } from "../prediction/file-records.ts";
import { asResult } from "./rpc-result.ts";
import { endOverdue } from "./deadlines.ts";
import type { StreamMessage } from "./nats/follow.ts";
import type { ModelCatalog } from "./nats/manifests.ts";
import { endPrediction } from "./events/ingest.ts";
import { listPredictions } from "./storage/list.ts";
import { getOwned, isOfAnother, mustGet } from "./admission/lookup.ts";
import { backlogGauges } from "./admission/pace.ts";
import { optional, type Sample } from "./metrics.ts";
import type { PredictionRow } from "./storage/prediction-row.ts";
import { type HubEnv, HubParts } from "./parts.ts";
import { quotaStates } from "./admission/quotas.ts";
import { queuePlace } from "./admission/queue-place.ts";
import type {
  CreatedPrediction,
  EventQuery,
  HubHealth,
  HubWorkers,
  HubWorkload,
  ListQuery,
  PredictionQuery,
  NewPrediction,
  PredictionPage,
  PredictionRecord,
  RecordedState,
  StoredEvent,
  UnsignedReceipt,
  WebhookLog,
} from "../prediction/records.ts";
import type { Actor, AuditEntry, AuditQuery } from "../prediction/accounting/audit.ts";
import type { QuotaState } from "../prediction/accounting/quota.ts";
import type { DateRange, UsageLine, UsageOfDay } from "../prediction/accounting/usage.ts";
import type { HubResult } from "../prediction/hub-result.ts";
import type { TestOutcome } from "../prediction/webhook-events.ts";
import { isFinal } from "../prediction/statuses.ts";
import { keyOfOwnId } from "../prediction/own-id.ts";
import { deleteImages, maskOf } from "./storage/files.ts";
import { expire } from "./storage/retention.ts";
import { unsignedReceipt } from "./receipts.ts";

/** Maximum number of events that one call returns. */
const EVENT_BATCH = 16;

/** How long a client that has disconnected is waited for: OpenAI's wait 8 s at most before they try again. */
const RETRY_GRACE_MS = 10_000;

export class Hub extends DurableObject<HubEnv> {
  readonly #parts: HubParts;

  constructor(ctx: DurableObjectState, env: HubEnv) {
    super(ctx, env);
    this.#parts = new HubParts(ctx, env);
  }

  /**
   * Stores and dispatches a prediction, or returns the one that the same idempotent request created before. After an error
   * it will not be made. Errors: queue_full, queue_unavailable, idempotency_key_reused, rate_limited, too_many_live,
   * quota_exceeded, storage_full.
   */
  create(request: NewPrediction): Promise<HubResult<CreatedPrediction>> {
    const options = { parent: request.traceparent, attributes: { "vqd.request_id": request.requestId } };
    const created = this.#parts.tracing.traced("create prediction", options, (parent) =>
      this.#create(request, parent),
    );
    this.ctx.waitUntil(
      created.then((result) => {
        if (!result.ok) this.#parts.metrics.count("vqd_hub_refused_total", result.error.code);
        return this.#parts.tracing.flush(this.#parts.log);
      }),
    );
    return created;
  }

  #create(request: NewPrediction, parent: string | undefined): Promise<HubResult<CreatedPrediction>> {
    return this.#result(async () => {
      const { row, rate } = await this.#parts.creation.create(request, parent);
      return { record: this.#record(row), rate };
    });
  }

  /** A page of the predictions of the key's owner. Errors of this and other reads: rate_limited. */
  list(keyName: string, query: PredictionQuery): Promise<HubResult<PredictionPage>> {
    const { store, archive, reads } = this.#parts;
    const read = async (): Promise<PredictionPage> => {
      reads.admit(keyName);
      const { page, bytes } = await listPredictions(store, archive, keyName, query);
      reads.count(keyName, bytes);
      return page;
    };
    return this.#result(() => archive.inTurn(keyName, read));
  }

  /** The prediction. This and the other methods answer not_found unless the key's owner created it. */
  get(id: string, keyName: string): Promise<HubResult<PredictionRecord>> {
    return this.#result(async () => {
      const { archive, reads } = this.#parts;
      const archived = await archive.get(id, keyName);
      if (archived !== undefined) return archived;
      reads.admit(keyName);
      const row = this.#owned(id, keyName);
      reads.count(keyName, row.inputJson.length);
      return this.#record(row);
    });
  }

  /** The prediction once it has ended, or as it is after `timeoutMs`. Errors: too_many_readers, unless it `continues`. */
  wait(
    id: string,
    keyName: string,
    timeoutMs: number,
    continues: boolean,
  ): Promise<HubResult<PredictionRecord>> {
    return this.#answer(async () => {
      const ended = await this.#parts.slots.hold(keyName, continues, () =>
        this.#parts.changes.until(id, timeoutMs, () => {
          const row = this.#owned(id, keyName);
          return isFinal(row.status) ? row : undefined;
        }),
      );
      return ended ?? this.#owned(id, keyName);
    });
  }

  /**
   * The prediction's next events of the given types, steps excepted; none after `timeoutMs`. The last event is `done`. Errors:
   * too_many_readers, unless it `continues`.
   */
  events(query: EventQuery, timeoutMs: number, continues: boolean): Promise<HubResult<StoredEvent[]>> {
    return this.#result(async () => {
      const { id, keyName, types, after } = query;
      const events = await this.#parts.slots.hold(keyName, continues, () =>
        this.#parts.changes.until(id, timeoutMs, () => {
          this.#owned(id, keyName);
          const found = this.#parts.store.events.ofTypes(id, types, after, EVENT_BATCH);
          return found.length > 0 ? found : undefined;
        }),
      );
      return events ?? [];
    });
  }

  /** Cancels the prediction, immediately and for good; one that has already ended does not change. Without `by`, its client left. */
  cancel(id: string, keyName: string, by?: Actor): Promise<HubResult<PredictionRecord>> {
    return this.#result(async () => {
      const archived = await this.#parts.archive.get(id, keyName);
      if (archived !== undefined) return archived;
      this.#owned(id, keyName);
      await this.#caughtUp();
      const row = this.#owned(id, keyName);
      if (isFinal(row.status)) return this.#record(row);
      this.#parts.store.atomically(() => {
        endPrediction(this.#parts.store, id, { status: "canceled", at: Date.now(), release: true });
        if (isOfAnother(row, by)) this.#parts.store.audit.note(keyName, "prediction.canceled", id, by);
      });
      this.#parts.log.info("canceled", { prediction: id });
      this.#parts.settle([id]);
      return this.#record(mustGet(this.#parts.store, id));
    });
  }

  /** The prediction's client has disconnected, and may ask again. If it does not within seconds, the prediction is canceled. */
  abandon(id: string, keyName: string): Promise<HubResult<null>> {
    return this.#result(() => {
      if (isFinal(this.#owned(id, keyName).status)) return null;
      this.#parts.store.abandoned.leave(id, Date.now() + RETRY_GRACE_MS);
      this.#parts.alarm.arm();
      return null;
    });
  }

  /**
   * Deletes the prediction with its images, events and webhooks, for good. One that has not ended is canceled first, without a
   * webhook. What object storage does not delete now, it is asked to delete later.
   */
  delete(id: string, keyName: string, by?: Actor): Promise<HubResult<null>> {
    return this.#result(async () => {
      const { store, archive, alarm, log } = this.#parts;
      if (await archive.delete(id, keyName, by)) {
        log.info("deleted", { prediction: id });
        alarm.arm();
        return null;
      }
      this.#owned(id, keyName);
      await this.#caughtUp();
      const row = this.#owned(id, keyName);
      store.atomically(() => {
        const at = Date.now();
        if (!isFinal(row.status)) endPrediction(store, id, { status: "canceled", at, release: true });
        store.tombstones.bury(id, at);
        if (isOfAnother(row, by)) store.audit.note(keyName, "prediction.deleted", id, by);
      });
      log.info("deleted", { prediction: id });
      if (isFinal(row.status)) this.#parts.changes.notify(id);
      else this.#parts.settle([id]);
      alarm.arm();
      await deleteImages(this.env.FILES, row).catch((error: unknown) => {
        log.warn("cannot delete images yet; trying again later", { prediction: id, ...errorFields(error) });
      });
      return null;
    });
  }

  /** The capability of the link by which others may see the prediction: a new one, unless it is shared already. */
  share(id: string, keyName: string, by: Actor): Promise<HubResult<string>> {
    return this.#read(keyName, () => {
      const { shareCapability } = this.#owned(id, keyName);
      if (shareCapability !== null) return shareCapability;
      const capability = newCapability();
      this.#setShare(id, keyName, capability, by);
      return capability;
    });
  }

  /** Takes the link back: nobody sees the prediction by it any more. */
  unshare(id: string, keyName: string, by: Actor): Promise<HubResult<null>> {
    return this.#read(keyName, () => {
      if (this.#owned(id, keyName).shareCapability !== null) this.#setShare(id, keyName, null, by);
      return null;
    });
  }

  #setShare(id: string, keyName: string, capability: string | null, by: Actor): void {
    const { store } = this.#parts;
    store.atomically(() => {
      store.update(id, { share_capability: capability });
      store.audit.note(keyName, capability === null ? "prediction.unshared" : "prediction.shared", id, by);
    });
  }

  /** A shared prediction. Errors: not_found unless it is shared by this capability; rate_limited, by its owner's reads. */
  shared(id: string, capability: string): Promise<HubResult<PredictionRecord>> {
    return this.#answer(() => {
      const row = this.#parts.store.get(id);
      if (row === undefined || row.deletedAt !== null || row.shareCapability !== capability) {
        throw new VqdError("not_found", "the prediction does not exist, or is not shared");
      }
      this.#parts.reads.admit(row.keyName);
      this.#parts.reads.count(row.keyName, row.inputJson.length);
      return row;
    });
  }

  /** The service's id of the prediction that its owner calls `ownId`. */
  idOf(ownId: string, keyName: string): Promise<HubResult<string>> {
    return this.#result(() => {
      const { store } = this.#parts;
      const row = store.byIdempotencyKey(keyName, keyOfOwnId(ownId));
      const id = row?.id ?? store.archive.idOf(keyName, ownId);
      if (id === undefined) throw new VqdError("not_found", "the prediction does not exist");
      return id;
    });
  }

  /** A prediction of the key's owner, and its state after a step. Errors: rate_limited. */
  stateOf(id: string, keyName: string, step: number): Promise<HubResult<RecordedState>> {
    return this.#read(keyName, async () => {
      const row = this.#owned(id, keyName);
      const tokens = this.#parts.store.events.tokensAfter(id, step);
      return { record: this.#record(row), tokens, mask: await maskOf(this.env.FILES, row) };
    });
  }

  /** What a receipt of an image says. Errors: no_receipt, rate_limited, and invalid_input for an index that it does not have. */
  receiptOf(id: string, keyName: string, index: number): Promise<HubResult<UnsignedReceipt>> {
    return this.#result(() => {
      const { store, config, reads } = this.#parts;
      reads.admit(keyName);
      const row = this.#owned(id, keyName);
      // Whatever comes of it, the steps of all images are read.
      reads.count(keyName, row.stepBytes);
      return unsignedReceipt(store, row, index, config);
    });
  }

  /** What the owner has used, by day and model. Errors: rate_limited. */
  usage(keyName: string, range: DateRange): Promise<HubResult<UsageOfDay[]>> {
    return this.#read(keyName, () => this.#parts.store.usage.byDay(keyName, range));
  }

  /** What predictions of all owners have used, in the order in which they ended. Errors: invalid_input. */
  usageLines(after: number, limit: number): Promise<HubResult<UsageLine[]>> {
    return this.#result(() => this.#parts.store.usage.lines(after, limit));
  }

  /** How far the owner is with quotas of a key. Errors: rate_limited. */
  quotas(keyName: string, quotas: Quotas): Promise<HubResult<QuotaState[]>> {
    return this.#read(keyName, () => quotaStates(this.#parts.store, keyName, quotas, Date.now()));
  }

  /** The secret that signs webhooks of the key's owner. Errors of this and the next: rate_limited. */
  webhookSecret(keyName: string, by: Actor): Promise<HubResult<string>> {
    return this.#read(keyName, () => {
      const { store } = this.#parts;
      return store.atomically(() => {
        store.audit.note(keyName, "webhook_secret.read", null, by);
        return store.webhooks.secrets(keyName, Date.now())[0] ?? "";
      });
    });
  }

  /** Replaces the secret; the old one also signs until `oldUntil`. */
  rotateWebhookSecret(keyName: string, by: Actor): Promise<HubResult<{ secret: string; oldUntil: number }>> {
    return this.#read(keyName, () => {
      const { store } = this.#parts;
      return store.atomically(() => {
        store.audit.note(keyName, "webhook_secret.rotated", null, by);
        return store.webhooks.rotate(keyName, Date.now());
      });
    });
  }

  /** The newest entries of the owner's audit log, or older ones. Errors: rate_limited. */
  audit(keyName: string, query: AuditQuery): Promise<HubResult<AuditEntry[]>> {
    return this.#read(keyName, () => {
      const { store, config } = this.#parts;
      return store.audit.page(keyName, query, Date.now() - config.auditRetentionMs);
    });
  }

  webhookLog(id: string, keyName: string): Promise<HubResult<WebhookLog>> {
    return this.#result(() => {
      this.#parts.reads.admit(keyName);
      const { webhook } = this.#owned(id, keyName);
      this.#parts.reads.count(keyName, 0);
      return { webhook, deliveries: this.#parts.store.webhooks.log(id) };
    });
  }

  /** Sends the prediction's `completed` webhook again, with the same webhook-id. Errors: rate_limited. */
  redeliverWebhook(id: string, keyName: string): Promise<HubResult<null>> {
    return this.#result(() => {
      this.#parts.redeliveries.admit(keyName);
      const row = this.#owned(id, keyName);
      this.#parts.webhooks.sendAgain(id);
      this.#parts.redeliveries.count(keyName, row.inputJson.length + row.logs.length);
      return null;
    });
  }

  /** Sends a body to a URL once, signed as a webhook of the key's owner. Counts as a redelivery. Errors: rate_limited. */
  testWebhook(keyName: string, url: string, body: string): Promise<HubResult<TestOutcome>> {
    return this.#result(() => {
      this.#parts.redeliveries.admit(keyName);
      this.#parts.redeliveries.count(keyName, body.length);
      return this.#parts.webhooks.sendTest(keyName, url, body);
    });
  }

  /** Stores a file of the key's owner. Errors: storage_full, rate_limited, internal. */
  createFile(file: NewFile, bytes: Uint8Array): Promise<HubResult<FileRecord>> {
    return this.#result(() => this.#parts.uploads.create(file, bytes));
  }

  /** This and the next ones answer not_found unless the key's owner uploaded the file, and rate_limited like other reads. */
  file(id: string, keyName: string): Promise<HubResult<FileRecord>> {
    return this.#read(keyName, () => this.#parts.uploads.get(id, keyName));
  }

  files(keyName: string, query: ListQuery): Promise<HubResult<FilePage>> {
    return this.#read(keyName, () => this.#parts.uploads.list(keyName, query));
  }

  deleteFile(id: string, keyName: string): Promise<HubResult<void>> {
    return this.#read(keyName, () => this.#parts.uploads.delete(id, keyName));
  }

  /** The models that workers have announced, and their routes; the last known ones while NATS is down. */
  async models(): Promise<ModelCatalog> {
    const { models, routes } = await this.#parts.models.current(() => this.#parts.connection.open());
    const { queue } = this.#parts.store;
    const withPace = models.map((model) =>
      Object.assign({ secondsPerImageStep: queue.secondsPerImageStep(model.version) }, model),
    );
    return { models: withPace, routes };
  }

  /** A model's tokenizer as its worker announced it; null if no model has it any more. */
  tokenizer(id: string): Uint8Array<ArrayBuffer> | null {
    return this.#parts.models.tokenizer(id);
  }

  /** Of the hub of shard 0: the shard that is home to the owner, now and for good. */
  homeOf(owner: string, shards: number): Promise<number> {
    return this.#parts.homes.homeOf(owner, shards);
  }

  /** Owners that this hub has something of. */
  owners(): string[] {
    return this.#parts.homes.owners();
  }

  async health(): Promise<HubHealth> {
    return this.#parts.status.health();
  }

  /** What waits and runs here, over all owners. Opens no connection to NATS. */
  async workload(): Promise<HubWorkload> {
    return this.#parts.status.workload();
  }

  /** Whether NATS takes jobs, and where workers wait for some; any hub knows. */
  async workers(): Promise<HubWorkers> {
    return this.#parts.status.workers();
  }

  /** Metrics for Prometheus. Opens no connection to NATS: scraping an idle hub must cost nothing. */
  async metrics(): Promise<Sample[]> {
    const events = await this.#parts.connection.eventsDistance();
    return this.#parts.metrics.samples({
      vqd_hub_predictions_live: this.#parts.store.liveByStatus(),
      vqd_hub_predictions_held: this.#parts.store.queue.heldCount(),
      ...backlogGauges(this.#parts.store.queue),
      vqd_hub_webhooks_pending: this.#parts.store.webhooks.pendingCount(),
      vqd_hub_database_bytes: this.ctx.storage.sql.databaseSize,
      vqd_hub_readers: this.#parts.slots.count,
      vqd_hub_events_behind_seconds: optional(events?.behindSeconds),
      vqd_hub_events_headroom_seconds: optional(events?.headroomSeconds),
      vqd_hub_events_headroom_messages: optional(events?.headroomMessages),
      vqd_hub_events_parked: this.#parts.parked.count,
      vqd_hub_nats_connected: this.#parts.connection.isOpen ? 1 : 0,
    });
  }

  /** A prediction's event stream. */
  override async fetch(request: Request): Promise<Response> {
    return this.#parts.readers.open(request);
  }

  override async alarm(): Promise<void> {
    this.#parts.alarm.clear();
    try {
      await this.#parts.connection.catchUp();
      const now = Date.now();
      const overdue = endOverdue(this.#parts.store, now);
      for (const id of overdue) this.#parts.log.warn("overdue", { prediction: id });
      this.#parts.settle(overdue);
      this.#parts.dispatcher.dispatchHeld();
      this.#parts.webhooks.pump();
      const { store, uploads, archiver, config } = this.#parts;
      await expire(store, uploads, archiver, this.env.FILES, config, now);
      await this.#parts.connection.release();
    } catch (error) {
      this.#parts.log.error("alarm failed", errorFields(error));
    }
    // In any case: an alarm that is not set again never fires.
    this.#parts.alarm.arm();
  }

  /** Applies one message of the events stream. */
  apply(message: StreamMessage): Promise<void> {
    return this.#parts.applier.apply(message);
  }

  #record(row: PredictionRow): PredictionRecord {
    const { store } = this.#parts;
    return { ...row, logs: store.logsOf(row), queue: queuePlace(store, row) };
  }

  /** The prediction as a record, or the error. */
  #answer(work: () => PredictionRow | Promise<PredictionRow>): Promise<HubResult<PredictionRecord>> {
    return this.#result(async () => this.#record(await work()));
  }

  /** After the death of an instance: what its readers have seen of a prediction counts, whatever happens to it now. */
  async #caughtUp(): Promise<void> {
    if (this.#parts.store.isBehind) await this.#parts.connection.catchUp();
  }

  #owned(id: string, keyName: string): PredictionRow {
    return getOwned(this.#parts.store, id, keyName);
  }

  /** A read whose answer is small. */
  #read<T>(keyName: string, work: () => T | Promise<T>): Promise<HubResult<T>> {
    return this.#result(() => {
      this.#parts.reads.admit(keyName);
      this.#parts.reads.count(keyName, 0);
      return work();
    });
  }

  #result<T>(work: () => T | Promise<T>): Promise<HubResult<T>> {
    return asResult(this.#parts.log, work);
  }
}
