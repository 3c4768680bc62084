// Predictions that their owners have deleted. Emptied at once, a row is kept for a while: a worker that does not know yet may
// still send an image, which then has a place in object storage to be removed from.

import { type PredictionRow, toPrediction } from "./prediction-row.ts";

export class Tombstones {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  /** Empties an ended prediction: nobody finds it any more. Call within a transaction. */
  bury(id: string, now: number): void {
    this.#sql.exec(
      `UPDATE predictions SET deleted_at = ?, logs = '', outputs = '[]', error_message = NULL, webhook = NULL,
         webhook_events = '[]', idempotency_key = NULL, request_hash = NULL, stream_capability = '', share_capability = NULL,
         record_bytes = 0, step_bytes = 0, file_bytes = 0 WHERE id = ?`,
      now,
      id,
    );
    for (const table of ["inputs", "events", "parked_events", "deliveries"]) {
      this.#sql.exec(`DELETE FROM ${table} WHERE prediction_id = ?`, id);
    }
  }

  /** Those deleted up to `before` whose jobs have left the queue. */
  due(before: number, limit: number): PredictionRow[] {
    return this.#sql
      .exec("SELECT * FROM predictions WHERE deleted_at <= ? AND release = 0 LIMIT ?", before, limit)
      .toArray()
      .map(toPrediction);
  }

  /** When the oldest was deleted, as Unix time in ms. */
  oldest(): number | null {
    const query = "SELECT min(deleted_at) AS at FROM predictions WHERE deleted_at IS NOT NULL";
    return this.#sql.exec<{ at: number | null }>(query).one().at;
  }
}
