// The hub's predictions in SQLite: rows in, rows out, no decisions.

import type { ErrorCode } from "@vqd/shared/errors.ts";
import { AbandonedPredictions } from "./abandoned.ts";
import { Beginnings } from "./beginnings.ts";
import { ContentionStore } from "./queue/contention-store.ts";
import { JobStore } from "./queue/job-store.ts";
import { EventStore } from "./event-store.ts";
import { Tombstones } from "./tombstones.ts";
import { QueueStore } from "./queue/queue-store.ts";
import { type NewRow, type PredictionRow, toPrediction } from "./prediction-row.ts";
import type { ListQuery } from "../../prediction/records.ts";
import type { PredictionStatus } from "../../prediction/statuses.ts";
import { byteLength } from "../../util/bytes.ts";
import { pageClause } from "./page.ts";
import { UploadStore } from "./upload-store.ts";
import { WebhookStore } from "./webhook-store.ts";

/** Columns that change after creation. */
interface RowChanges {
  status?: PredictionStatus;
  job_seq?: number;
  release?: 0 | 1;
  attempt?: number;
  attempt_started_at?: number;
  resumed_from?: number;
  step?: number;
  previews_seen?: number;
  numerics_id?: string;
  outputs?: string;
  error_code?: ErrorCode;
  error_message?: string;
  logs?: string;
  predict_seconds?: number;
  started_at?: number;
  yields?: 0 | 1;
  completed_at?: number;
  steps_expired?: 1;
  files_expired?: 1;
  file_bytes?: number;
}

export class PredictionStore {
  readonly events: EventStore;
  readonly jobs: JobStore;
  /** What waits and what runs. */
  readonly queue: QueueStore;
  readonly contention: ContentionStore;
  /** Webhooks of the predictions. */
  readonly webhooks: WebhookStore;
  readonly tombstones: Tombstones;
  readonly abandoned: AbandonedPredictions;
  readonly uploads: UploadStore;
  readonly beginnings: Beginnings;
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.events = new EventStore(storage);
    this.jobs = new JobStore(storage);
    this.queue = new QueueStore(storage, this.jobs);
    this.contention = new ContentionStore(storage);
    this.webhooks = new WebhookStore(storage);
    this.tombstones = new Tombstones(storage);
    this.abandoned = new AbandonedPredictions(storage);
    this.uploads = new UploadStore(storage);
    this.beginnings = new Beginnings(storage);
    this.#storage = storage;
    this.#sql = storage.sql;
  }

  /** Runs `work` in a transaction. */
  atomically<T>(work: () => T): T {
    return this.#storage.transactionSync(work);
  }

  insert(row: NewRow): void {
    const columns = Object.keys(row);
    const places = columns.map(() => "?").join(", ");
    this.#sql.exec(
      `INSERT INTO predictions (${columns.join(", ")}) VALUES (${places})`,
      ...Object.values(row),
    );
  }

  get(id: string): PredictionRow | undefined {
    const [row] = this.#sql.exec("SELECT * FROM predictions WHERE id = ?", id).toArray();
    return row === undefined ? undefined : toPrediction(row);
  }

  byIdempotencyKey(keyName: string, key: string): PredictionRow | undefined {
    const query = "SELECT * FROM predictions WHERE key_name = ? AND idempotency_key = ?";
    return this.#rows(query, keyName, key)[0];
  }

  /**
   * An owner's predictions in the direction of `from`, nearest first: at most `limit`, and no more than have `maxBytes` of
   * input together, but at least one. `hasMore` if there are others.
   */
  page(
    keyName: string,
    query: ListQuery,
    maxBytes: number,
  ): { rows: PredictionRow[]; bytes: number; hasMore: boolean } {
    const { clause, values } = pageClause(keyName, query);
    const found = this.#sql.exec(
      `SELECT * FROM predictions WHERE deleted_at IS NULL AND ${clause}`,
      ...values,
    );
    const rows: PredictionRow[] = [];
    let bytes = 0;
    // Rows are read one by one: what does not fit stays in the database.
    for (const one of found) {
      const row = toPrediction(one);
      const size = byteLength(row.inputJson);
      if (rows.length > 0 && (rows.length === query.limit || bytes + size > maxBytes)) {
        return { rows, bytes, hasMore: true };
      }
      rows.push(row);
      bytes += size;
    }
    return { rows, bytes, hasMore: false };
  }

  /** Bytes that the owner's predictions take up in the database and in object storage. */
  usageOf(keyName: string): { records: number; files: number } {
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
    const columns = Object.keys(changes);
    // Column names come from the RowChanges type, never from a caller.
    const assignments = columns.map((column) => `${column} = ?`).join(", ");
    const values = Object.values(changes) as SqlStorageValue[];
    this.#sql.exec(`UPDATE predictions SET ${assignments} WHERE id = ?`, ...values, id);
  }

  /** Counts the steps, previews and log lines of a prediction that has just ended among what its record takes up. */
  countSteps(id: string): void {
    this.#sql.exec(
      "UPDATE predictions SET record_bytes = record_bytes + step_bytes + length(logs) WHERE id = ?",
      id,
    );
  }

  remove(id: string): void {
    this.queue.forget(id);
    this.#sql.exec("DELETE FROM events WHERE prediction_id = ?", id);
    this.#sql.exec("DELETE FROM predictions WHERE id = ?", id);
  }

  isLive(id: string): boolean {
    const query = "SELECT 1 FROM predictions WHERE id = ? AND completed_at IS NULL";
    return this.#sql.exec(query, id).toArray().length > 0;
  }

  live(): PredictionRow[] {
    return this.#rows("SELECT * FROM predictions WHERE completed_at IS NULL");
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
    return this.#rows("SELECT * FROM predictions WHERE release = 1");
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
         FROM predictions INDEXED BY predictions_deadlines WHERE completed_at IS NULL`,
      )
      .one().at;
  }

  /** Deletes the steps, previews and logs of predictions that ended up to `before`. */
  expireSteps(before: number): void {
    this.#sql.exec(
      `DELETE FROM events WHERE type IN ('step', 'preview', 'logs') AND prediction_id IN
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
    return this.#rows(
      "SELECT * FROM predictions WHERE completed_at <= ? AND files_expired = 0 LIMIT ?",
      before,
      limit,
    );
  }

  expireRecords(before: number): void {
    this.#sql.exec(
      "DELETE FROM events WHERE prediction_id IN (SELECT id FROM predictions WHERE completed_at <= ? AND files_expired = 1)",
      before,
    );
    this.#sql.exec("DELETE FROM predictions WHERE completed_at <= ? AND files_expired = 1", before);
  }

  /** When the oldest prediction ended whose steps, files or record are still kept. */
  oldestEnds(): { steps: number | null; files: number | null; record: number | null } {
    return this.#sql
      .exec<{ steps: number | null; files: number | null; record: number | null }>(
        `SELECT (SELECT min(completed_at) FROM predictions WHERE steps_expired = 0) AS steps,
                (SELECT min(completed_at) FROM predictions WHERE files_expired = 0) AS files,
                (SELECT min(completed_at) FROM predictions) AS record`,
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
      .map(toPrediction);
  }
}
