// What owners have used. It is counted in the transaction in which a prediction ends, from what its row says then.

import type { DateRange, UsageOfDay } from "../../../prediction/usage.ts";

/** Lines that are added up at once: each alone would be a row more to write, and what has yet to be is added up by whoever asks. */
const FOLD_LINES = 64;
/** Number of the last line that the days include. */
const FOLDED = "coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'usage.folded'), 0)";
const DAY = "date(completed_at / 1000, 'unixepoch')";

export class UsageStore {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  /**
   * Counts a prediction that has just ended. Call in the transaction that ends it, before anything of it is deleted. A worker says how
   * long it took; in all that is no longer than the prediction has existed.
   */
  count(id: string, now: number): void {
    const { seq } = this.#sql
      .exec<{ seq: number }>(
        `INSERT INTO usage_lines
           (prediction_id, key_name, model, version, status, created_at, completed_at, images, steps, gpu_ms)
         SELECT id, key_name, model, version, status, created_at, completed_at, json_array_length(outputs),
           images * max(0, max(step, furthest) - spared), max(0, min(worker_ms + attempt_ms, ? - created_at))
         FROM predictions WHERE id = ? RETURNING seq`,
        now,
        id,
      )
      .one();
    if (seq % FOLD_LINES === 0) this.#fold();
  }

  /** In the order of days, then models. */
  byDay(keyName: string, { from, to }: DateRange): UsageOfDay[] {
    return this.#sql
      .exec<Record<keyof UsageOfDay, never>>(
        `SELECT day AS date, model, sum(predictions) AS predictions, sum(images) AS images, sum(steps) AS steps,
           sum(gpu_ms) AS gpuMs
         FROM (SELECT day, model, predictions, images, steps, gpu_ms FROM usage_by_day
               WHERE key_name = ?1 AND day BETWEEN ?2 AND ?3
               UNION ALL
               SELECT ${DAY} AS day, model, 1, images, steps, gpu_ms FROM usage_lines
               WHERE seq > ${FOLDED} AND key_name = ?1 AND ${DAY} BETWEEN ?2 AND ?3)
         GROUP BY day, model ORDER BY day, model`,
        keyName,
        from,
        to,
      )
      .toArray();
  }

  /** What the owner's live predictions may come to, by version; of workers, what they have taken so far. */
  reservedBy(keyName: string): { version: string; images: number; steps: number; gpuMs: number }[] {
    return this.#sql
      .exec<{ version: string; images: number; steps: number; gpuMs: number }>(
        `SELECT version, sum(images) AS images, sum(images * (total_steps - spared)) AS steps,
           sum(worker_ms + attempt_ms) AS gpuMs
         FROM predictions WHERE completed_at IS NULL AND key_name = ? GROUP BY version`,
        keyName,
      )
      .toArray();
  }

  /** Adds the lines that have yet to be to their days. Call within a transaction. */
  #fold(): void {
    this.#sql.exec(
      `INSERT INTO usage_by_day (key_name, day, model, predictions, images, steps, gpu_ms)
       SELECT key_name, ${DAY} AS day, model, count(*), sum(images), sum(steps), sum(gpu_ms) FROM usage_lines
       WHERE seq > ${FOLDED} GROUP BY key_name, day, model
       ON CONFLICT (key_name, day, model) DO UPDATE SET predictions = predictions + excluded.predictions,
         images = images + excluded.images, steps = steps + excluded.steps, gpu_ms = gpu_ms + excluded.gpu_ms`,
    );
    this.#sql.exec(
      `INSERT INTO meta (key, value) SELECT 'usage.folded', max(seq) FROM usage_lines WHERE true
       ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
    );
  }
}
