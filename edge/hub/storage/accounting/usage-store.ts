// What owners have used. It is counted in the transaction in which a prediction ends, from what its row says then.

import { VqdError } from "@vqd/shared/errors.ts";
import {
  type DateRange,
  dateOf,
  type UsageLine,
  type UsageOfDay,
} from "../../../prediction/accounting/usage.ts";

/** Lines that are added up at once: each alone would be a row more to write, and what has yet to be is added up by whoever asks. */
const FOLD_LINES = 64;
/** Number of the last line that the days include. */
const FOLDED = "coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'usage.folded'), 0)";
/** Lines that are deleted at once. */
const MAX_DELETED = 10_000;
/** Two years. */
const DAYS_KEPT_MS = 2 * 366 * 86_400_000;
/** Lines that the days do not include yet, fewer than FOLD_LINES. */
export const UNFOLDED = `seq > ${FOLDED}`;
const DAY = "date(completed_at / 1000, 'unixepoch')";

export class UsageStore {
  readonly #sql: SqlStorage;
  /** The day on which old days have been deleted. */
  #expiredOn = "";

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
           (prediction_id, key_name, key_id, model, version, status, created_at, completed_at, images, steps, gpu_ms)
         SELECT id, key_name, key_id, model, version, status, created_at, completed_at, json_array_length(outputs),
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
               WHERE ${UNFOLDED} AND key_name = ?1 AND ${DAY} BETWEEN ?2 AND ?3)
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

  /**
   * The lines after the one with the number `after`, at most `limit`. Throws a VqdError (invalid_input) if some of them are no
   * longer kept.
   */
  lines(after: number, limit: number): UsageLine[] {
    const { first, last } = this.#sql
      .exec<{ first: number | null; last: number | null }>(
        `SELECT (SELECT seq FROM usage_lines ORDER BY seq LIMIT 1) AS first,
           (SELECT seq FROM usage_lines ORDER BY seq DESC LIMIT 1) AS last`,
      )
      .one();
    // From the start means from the first that is kept.
    if (after > 0 && (after < (first ?? 0) - 1 || after > (last ?? 0))) {
      const message =
        "is not a place in the lines that are kept any more; without it, these are read from the first on";
      throw new VqdError("invalid_input", `cursor ${message}`, { errors: [{ path: "cursor", message }] });
    }
    return this.#sql
      .exec<Record<keyof UsageLine, never>>(
        `SELECT seq, prediction_id AS id, key_name AS owner, key_id AS keyId, model, version, status, created_at AS createdAt,
           completed_at AS completedAt, images, steps, gpu_ms AS gpuMs
         FROM usage_lines WHERE seq > ? ORDER BY seq LIMIT ?`,
        after,
        limit,
      )
      .toArray();
  }

  /** Deletes lines that are older than `keepMs`, at most so many that it is done soon, and days that nobody can ask for. */
  expire(now: number, keepMs: number): void {
    const today = dateOf(now);
    if (today !== this.#expiredOn) {
      this.#expiredOn = today;
      this.#sql.exec("DELETE FROM usage_by_day WHERE day < ?", dateOf(now - DAYS_KEPT_MS));
    }
    const [oldest] = this.#sql
      .exec<{ seq: number; at: number }>(
        "SELECT seq, completed_at AS at FROM usage_lines ORDER BY seq LIMIT 1",
      )
      .toArray();
    if (oldest === undefined || oldest.at >= now - keepMs) return;
    const { end, folded } = this.#sql
      .exec<{ end: number; folded: number }>(
        `SELECT coalesce((SELECT seq FROM usage_lines WHERE completed_at >= ?1 ORDER BY seq LIMIT 1), max(seq)) AS end,
           ${FOLDED} AS folded FROM usage_lines`,
        now - keepMs,
      )
      .one();
    const kept = Math.min(end, oldest.seq + MAX_DELETED);
    if (kept === oldest.seq) return;
    if (folded < kept - 1) this.#fold();
    this.#sql.exec("DELETE FROM usage_lines WHERE seq < ?", kept);
  }

  /** Adds the lines that have yet to be to their days. Call within a transaction. */
  #fold(): void {
    this.#sql.exec(
      `INSERT INTO usage_by_day (key_name, day, model, predictions, images, steps, gpu_ms)
       SELECT key_name, ${DAY} AS day, model, count(*), sum(images), sum(steps), sum(gpu_ms) FROM usage_lines
       WHERE ${UNFOLDED} GROUP BY key_name, day, model
       ON CONFLICT (key_name, day, model) DO UPDATE SET predictions = predictions + excluded.predictions,
         images = images + excluded.images, steps = steps + excluded.steps, gpu_ms = gpu_ms + excluded.gpu_ms`,
    );
    this.#sql.exec(
      `INSERT INTO meta (key, value) SELECT 'usage.folded', max(seq) FROM usage_lines WHERE true
       ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
    );
  }
}
