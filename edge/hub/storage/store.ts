// The hub's predictions in SQLite: rows in, rows out, no decisions.

import type { ErrorCode } from "@vqd/shared/errors.ts";
import { AbandonedPredictions } from "./abandoned.ts";
import { Beginnings } from "./beginnings.ts";
import { ContentionStore } from "./queue/contention-store.ts";
import { JobStore } from "./queue/job-store.ts";
import { EventStore, expiringBytes, type NewEvent } from "./event-store.ts";
import { Tombstones } from "./tombstones.ts";
import { QueueStore } from "./queue/queue-store.ts";
import { WorkloadStore } from "./queue/workload-store.ts";
import { type NewRow, type PredictionRow, type Stage, toPrediction } from "./prediction-row.ts";
import type { ListQuery, PredictionQuery } from "../../prediction/records.ts";
import type { PredictionStatus } from "../../prediction/statuses.ts";
import { byteLength } from "../../util/bytes.ts";
import { PACKED } from "./steps/packed-row.ts";
import type { Row } from "./columns.ts";
import { filterClause, type Listed, pageClause } from "./page.ts";
import { UploadStore } from "./upload-store.ts";
import { ArchiveStore } from "../archive/archive-store.ts";
import { AuditStore } from "./accounting/audit-store.ts";
import { UsageStore } from "./accounting/usage-store.ts";
import { WebhookStore } from "./webhook-store.ts";

/** Columns that change after creation. */
interface RowChanges {
  status?: PredictionStatus;
  job_seq?: number;
  release?: 0 | 1;
  attempt?: number;
  attempt_started_at?: number | null;
  resumed_from?: number;
  step?: number;
  previews_seen?: number;
  numerics_id?: string;
  stage?: Stage;
  run_timeout_ms?: number;
  yielded_at?: null;
  outputs?: string;
  error_code?: ErrorCode;
  error_message?: string;
  predict_seconds?: number;
  started_at?: number;
  yields?: 0 | 1;
  completed_at?: number;
  steps_expired?: 1;
  files_expired?: 1;
  file_bytes?: number;
  share_capability?: string | null;
  spared?: number;
  furthest?: number;
  worker_ms?: number;
  attempt_ms?: number;
}

/** More events than a prediction can have between two writes. */
const UNSTORED_EVENTS = 4_096;
const ROWS = "SELECT p.*, i.input FROM predictions p LEFT JOIN inputs i ON i.prediction_id = p.id";

export class PredictionStore {
  readonly events: EventStore;
  readonly jobs: JobStore;
  /** What waits and what runs. */
  readonly queue: QueueStore;
  readonly contention: ContentionStore;
  readonly workload: WorkloadStore;
  /** Webhooks of the predictions. */
  readonly webhooks: WebhookStore;
  readonly tombstones: Tombstones;
  readonly abandoned: AbandonedPredictions;
  readonly uploads: UploadStore;
  readonly beginnings: Beginnings;
  readonly archive: ArchiveStore;
  readonly audit: AuditStore;
  /** What owners have used. */
  readonly usage: UsageStore;
  /**
   * Whether events that had taken effect when the last instance of the hub died may have yet to be read again: readers may have
   * seen numbers that are not stored.
   */
  isBehind = false;
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.events = new EventStore(storage);
    this.jobs = new JobStore(storage);
    this.queue = new QueueStore(storage, this.jobs);
    this.workload = new WorkloadStore(storage);
    this.contention = new ContentionStore(storage, this.events);
    this.webhooks = new WebhookStore(storage);
    this.tombstones = new Tombstones(storage);
    this.abandoned = new AbandonedPredictions(storage);
    this.uploads = new UploadStore(storage);
    this.beginnings = new Beginnings(storage);
    this.archive = new ArchiveStore(storage);
    this.audit = new AuditStore(storage);
    this.usage = new UsageStore(storage);
    this.#storage = storage;
    this.#sql = storage.sql;
  }

  /** Runs `work` in a transaction. */
  atomically<T>(work: () => T): T {
    return this.#storage.transactionSync(work);
  }

  insert({ input, ...row }: NewRow): void {
    const columns = Object.keys(row);
    const places = columns.map(() => "?").join(", ");
    this.#sql.exec(
      `INSERT INTO predictions (${columns.join(", ")}) VALUES (${places})`,
      ...Object.values(row),
    );
    this.#sql.exec("INSERT INTO inputs (prediction_id, input) VALUES (?, ?)", row.id, input);
  }

  get(id: string): PredictionRow | undefined {
    return this.#rows(`${ROWS} WHERE p.id = ?`, id)[0];
  }

  /** The log of a prediction: that of one that has not ended follows from its steps so far. */
  logsOf({ id, logs, completedAt }: Pick<PredictionRow, "id" | "logs" | "completedAt">): string {
    return completedAt === null ? logs + this.events.logsOf(id) : logs;
  }

  /** Changes a prediction and appends events to its stream, as one row and one for each event. */
  record(id: string, changes: RowChanges, ...events: readonly NewEvent[]): void {
    this.events.flush(id);
    const { assignments, values } = assigned(changes);
    const { seq } = this.#sql
      .exec<{ seq: number }>(
        `UPDATE predictions SET ${assignments.join(", ")}${assignments.length > 0 ? "," : ""}
           event_seq = event_seq + ?, step_bytes = step_bytes + ? WHERE id = ? RETURNING event_seq AS seq`,
        ...values,
        events.length,
        expiringBytes(events),
        id,
      )
      .one();
    this.events.insert(id, events, seq);
  }

  /** The same of a prediction that ends: its log is kept from now on, and what its steps take up counts as its record's. */
  recordEnd(id: string, changes: RowChanges, ...events: readonly NewEvent[]): void {
    this.events.flush(id);
    const { assignments, values } = assigned(changes);
    const logs = this.events.logsOf(id);
    const { seq } = this.#sql
      .exec<{ seq: number }>(
        `UPDATE predictions SET ${assignments.join(", ")}, event_seq = event_seq + ?, logs = logs || ?,
           record_bytes = record_bytes + step_bytes + length(logs) + ? WHERE id = ? RETURNING event_seq AS seq`,
        ...values,
        events.length + (this.isBehind ? UNSTORED_EVENTS : 0),
        logs,
        logs.length,
        id,
      )
      .one();
    this.events.insert(id, events, seq);
  }

  /** A line of the log that does not follow from a step. */
  appendLog(id: string, line: string): void {
    this.#sql.exec("UPDATE predictions SET logs = logs || ? WHERE id = ?", line, id);
    this.record(id, {}, ["logs", line]);
  }

  byIdempotencyKey(keyName: string, key: string): PredictionRow | undefined {
    return this.#rows(`${ROWS} WHERE p.key_name = ? AND p.idempotency_key = ?`, keyName, key)[0];
  }

  /**
   * An owner's predictions in the direction of `from`, nearest first: at most `limit`, and no more than have `maxBytes` of
   * input together, but at least one; of those that a filter looks for, what is among the `lookedThrough` nearest. `end` is
   * the furthest that was looked at, if there may be others.
   */
  page(
    keyName: string,
    query: PredictionQuery,
    { maxBytes, lookedThrough }: { maxBytes: number; lookedThrough: number },
  ): { rows: PredictionRow[]; bytes: number; end: Listed | null } {
    const only = query.only === undefined ? undefined : filterClause(query.only);
    const bound = only === undefined ? null : this.#furthest(keyName, query, lookedThrough);
    const { conditions, order, values } = pageClause(keyName, query);
    if (bound !== null) {
      conditions.push(`(created_at, p.id) ${query.from?.towards === "newer" ? "<=" : ">="} (?, ?)`);
      values.push(bound.createdAt, bound.id);
    }
    const wanted = [...conditions, "deleted_at IS NULL", ...(only?.conditions ?? [])].join(" AND ");
    const found = this.#sql.exec(
      `${ROWS} WHERE ${wanted} ORDER BY ${order}`,
      ...values,
      ...(only?.values ?? []),
    );
    const rows: PredictionRow[] = [];
    let bytes = 0;
    // Rows are read one by one: what does not fit stays in the database.
    for (const one of found) {
      const row = this.#read(one);
      const size = byteLength(row.inputJson);
      if (rows.length > 0 && (rows.length === query.limit || bytes + size > maxBytes)) {
        return { rows, bytes, end: rows.at(-1) ?? null };
      }
      rows.push(row);
      bytes += size;
    }
    return { rows, bytes, end: bound };
  }

  /** The last of an owner's predictions that a filtered page looks at; null if those are all. */
  #furthest(keyName: string, query: ListQuery, lookedThrough: number): Listed | null {
    const { conditions, order, values } = pageClause(keyName, query);
    const statement = `SELECT created_at AS createdAt, id FROM predictions p WHERE ${conditions.join(" AND ")}
      ORDER BY ${order} LIMIT 1 OFFSET ?`;
    const [row] = this.#sql
      .exec<{ createdAt: number; id: string }>(statement, ...values, lookedThrough - 1)
      .toArray();
    return row ?? null;
  }

  /** An owner's predictions in the order in which they were made, read as they are asked for. */
  *oldestOf(keyName: string): Generator<PredictionRow> {
    const query = `${ROWS} WHERE key_name = ? AND deleted_at IS NULL ORDER BY created_at, id`;
    for (const row of this.#sql.exec(query, keyName)) yield this.#read(row);
  }

  /** Bytes that the owner's predictions take up in the database and in object storage. */
  bytesOf(keyName: string): { records: number; files: number } {
    const query = "SELECT records, files FROM usage WHERE key_name = ?";
    const [row] = this.#sql.exec<{ records: number; files: number }>(query, keyName).toArray();
    return row ?? { records: 0, files: 0 };
  }

  /** When the owner's oldest prediction ended whose record, or whose images, are still stored; null for none. */
  oldestEndOf(keyName: string, what: "records" | "images"): number | null {
    const [row] = this.#sql
      .exec<{ at: number }>(
        `SELECT completed_at AS at FROM predictions WHERE key_name = ? AND completed_at IS NOT NULL
         AND (file_bytes > 0 OR ?) ORDER BY created_at LIMIT 1`,
        keyName,
        what === "records" ? 1 : 0,
      )
      .toArray();
    return row?.at ?? null;
  }

  update(id: string, changes: RowChanges): void {
    const { assignments, values } = assigned(changes);
    this.#sql.exec(`UPDATE predictions SET ${assignments.join(", ")} WHERE id = ?`, ...values, id);
  }

  remove(id: string): void {
    this.queue.forget(id);
    this.events.forget(id);
    this.#sql.exec("DELETE FROM predictions WHERE id = ?", id);
  }

  /** Whether the prediction is stored, and has not been deleted. */
  isKept(id: string): boolean {
    const query = "SELECT 1 FROM predictions WHERE id = ? AND deleted_at IS NULL";
    return this.#sql.exec(query, id).toArray().length > 0;
  }

  isLive(id: string): boolean {
    const query = "SELECT 1 FROM predictions WHERE id = ? AND completed_at IS NULL";
    return this.#sql.exec(query, id).toArray().length > 0;
  }

  live(): PredictionRow[] {
    return this.#rows(`${ROWS} WHERE completed_at IS NULL`);
  }

  liveCount(): number {
    return this.#sql
      .exec<{ n: number }>(
        "SELECT count(*) AS n FROM predictions INDEXED BY predictions_live WHERE completed_at IS NULL",
      )
      .one().n;
  }

  /** Number of live predictions by status. */
  liveByStatus(): Record<string, number> {
    const rows = this.#sql
      .exec<{ status: string; n: number }>(
        "SELECT status, count(*) AS n FROM predictions WHERE completed_at IS NULL GROUP BY status",
      )
      .toArray();
    return Object.fromEntries(rows.map(({ status, n }) => [status, n]));
  }

  toRelease(): PredictionRow[] {
    return this.#rows(`${ROWS} WHERE release = 1`);
  }

  /** Notes that the job of this sequence is gone. One that has been dispatched in the meantime has yet to be removed. */
  released(id: string, sequence: number | null): void {
    this.#sql.exec("UPDATE predictions SET release = 0 WHERE id = ? AND job_seq IS ?", id, sequence);
  }

  /** Of predictions that have ended since, removes the jobs from the queue once more. */
  releaseAgain(since: number): void {
    // A server whose machine has crashed may give a number a second time: what waits now is not touched.
    this.#sql.exec(
      `UPDATE predictions SET release = 1 WHERE completed_at > ? AND job_seq IS NOT NULL AND job_seq NOT IN
         (SELECT job_seq FROM predictions WHERE completed_at IS NULL AND job_seq IS NOT NULL)`,
      since,
    );
  }

  /** Next deadline of any live prediction, as Unix time in ms. */
  nextDeadline(): number | null {
    return this.#sql
      .exec<{ at: number | null }>(
        `SELECT min(min(coalesce(coalesce(yielded_at, started_at) + run_timeout_ms, queue_deadline_at), ifnull(cancel_at, 9e15),
                        ifnull(abandoned_until, 9e15))) AS at
         FROM predictions WHERE completed_at IS NULL`,
      )
      .one().at;
  }

  /** Deletes the steps, previews and logs of predictions that ended up to `before`. */
  expireSteps(before: number): void {
    this.#sql.exec(
      `DELETE FROM events WHERE type IN ('step', '${PACKED}', 'preview', 'logs') AND prediction_id IN
         (SELECT id FROM predictions WHERE completed_at <= ? AND steps_expired = 0)`,
      before,
    );
    this.#sql.exec(
      `UPDATE predictions SET steps_expired = 1, record_bytes = record_bytes - step_bytes, step_bytes = 0
       WHERE completed_at <= ? AND steps_expired = 0`,
      before,
    );
  }

  withExpiredFiles(before: number, limit: number): PredictionRow[] {
    return this.#rows(`${ROWS} WHERE completed_at <= ? AND files_expired = 0 LIMIT ?`, before, limit);
  }

  expireRecords(before: number): void {
    this.#sql.exec("DELETE FROM predictions WHERE completed_at <= ? AND files_expired = 1", before);
  }

  /** When the oldest prediction ended whose steps, files or record are still kept. */
  oldestEnds(): { steps: number | null; files: number | null; record: number | null } {
    return this.#sql
      .exec<{ steps: number | null; files: number | null; record: number | null }>(
        `SELECT (SELECT min(completed_at) FROM predictions WHERE steps_expired = 0 AND completed_at IS NOT NULL) AS steps,
                (SELECT min(completed_at) FROM predictions WHERE files_expired = 0 AND completed_at IS NOT NULL) AS files,
                (SELECT min(completed_at) FROM predictions WHERE completed_at IS NOT NULL) AS record`,
      )
      .one();
  }

  meta(key: string): string | undefined {
    const [row] = this.#sql.exec<{ value: string }>("SELECT value FROM meta WHERE key = ?", key).toArray();
    return row?.value;
  }

  setMeta(key: string, value: string): void {
    this.#sql.exec(
      "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
      key,
      value,
    );
  }

  #rows(query: string, ...values: SqlStorageValue[]): PredictionRow[] {
    return this.#sql
      .exec(query, ...values)
      .toArray()
      .map((row) => this.#read(row));
  }

  #read(row: Row): PredictionRow {
    const prediction = toPrediction(row);
    const progress = this.events.progressOf(prediction.id);
    return progress === undefined ? prediction : Object.assign(prediction, progress);
  }
}

/** Column names come from the RowChanges type, never from a caller. */
const assigned = (changes: RowChanges): { assignments: string[]; values: SqlStorageValue[] } => ({
  assignments: Object.keys(changes).map((column) => `${column} = ?`),
  values: Object.values(changes) as SqlStorageValue[],
});
