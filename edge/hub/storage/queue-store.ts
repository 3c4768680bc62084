// The work of a hub in SQLite: what waits, here or in the workers' queue, what runs, and in which order it is served.

import type { PredictionRow } from "./prediction-row.ts";

/** Predictions that are served in one order: those of a version with the same rank of priority. */
export interface ServiceClass {
  readonly version: string;
  readonly rank: number;
}

/** What determines when a waiting prediction is served. */
export type QueueTicket = Pick<PredictionRow, "version" | "rank" | "turn" | "id">;

/** An amount of work. */
export interface Work {
  /** Number of predictions. */
  readonly count: number;
  /** Their remaining work: images times remaining steps. */
  readonly imageSteps: number;
}

/** A job that the hub keeps until it is its turn. */
export interface HeldJob {
  readonly id: string;
  /** Encoded. */
  readonly job: Uint8Array;
  readonly rank: number;
  readonly requestId: string;
  readonly traceparent: string | undefined;
}

/** Number of recently ended predictions that the pace is computed from. */
const PACE_SAMPLE = 100;

export class QueueStore {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  /**
   * The turn of an owner's next prediction: its finish tag in self-clocked fair queueing (Golestani, 1994), in image-steps. It
   * follows the owner's last held prediction, or the clock, which is the turn that has been served last.
   */
  turnOf(keyName: string, { version, rank }: ServiceClass, imageSteps: number): number {
    const { start } = this.#sql
      .exec<{ start: number }>(
        `SELECT max(
           coalesce((SELECT max(turn) FROM predictions WHERE completed_at IS NULL AND held = 0
             AND status IN ('starting', 'processing') AND version = ?1 AND rank = ?2), 0),
           coalesce((SELECT turn - images * total_steps FROM predictions WHERE completed_at IS NULL AND held = 1
             AND status = 'starting' AND version = ?1 AND rank = ?2 ORDER BY turn LIMIT 1), 0),
           coalesce((SELECT max(turn) FROM predictions WHERE completed_at IS NULL AND held = 1
             AND status = 'starting' AND version = ?1 AND rank = ?2 AND key_name = ?3), 0)) AS start`,
        version,
        rank,
        keyName,
      )
      .one();
    return start + imageSteps;
  }

  /** Waiting predictions of the same version that are served earlier: those of higher priority, and earlier turns of the same. */
  aheadOf({ version, rank, turn, id }: QueueTicket): Work {
    return this.#work(
      `SELECT count(*) AS count, coalesce(sum(images * total_steps), 0) AS steps FROM predictions
       WHERE completed_at IS NULL AND held IN (0, 1) AND status = 'starting' AND version = ?
         AND (rank, turn, id) < (?, ?, ?)`,
      version,
      rank,
      turn,
      id,
    );
  }

  /** Running predictions of the version, and their remaining work; of each no more than `most` image-steps. */
  running(version: string, most: number = Number.MAX_SAFE_INTEGER): Work {
    return this.#work(
      `SELECT count(*) AS count, coalesce(sum(min(images * (total_steps - step), ?)), 0) AS steps FROM predictions
       WHERE completed_at IS NULL AND held IN (0, 1) AND status = 'processing' AND version = ?`,
      most,
      version,
    );
  }

  /** Predictions in the workers' queue. */
  dispatched({ version, rank }: ServiceClass): Work {
    return this.#work(
      `SELECT count(*) AS count, coalesce(sum(images * total_steps), 0) AS steps FROM predictions
       WHERE completed_at IS NULL AND held = 0 AND status = 'starting' AND version = ? AND rank = ?`,
      version,
      rank,
    );
  }

  /** Live predictions of the owner, and their remaining work. */
  liveOf(keyName: string): Work {
    return this.#work(
      `SELECT count(*) AS count, coalesce(sum(images * (total_steps - step)), 0) AS steps FROM predictions
       WHERE completed_at IS NULL AND key_name = ?`,
      keyName,
    );
  }

  /** Seconds per step and image in the version's recent successes; null if there are none. */
  secondsPerImageStep(version: string): number | null {
    return this.#sql
      .exec<{ pace: number | null }>(
        `SELECT sum(predict_seconds) / sum(images * total_steps) AS pace FROM
           (SELECT * FROM predictions WHERE completed_at IS NOT NULL ORDER BY completed_at DESC LIMIT ?)
         WHERE version = ? AND status = 'succeeded'`,
        PACE_SAMPLE,
        version,
      )
      .one().pace;
  }

  /** Keeps the job of a prediction that has been stored as held. Call in the same transaction. */
  hold({ id, job, requestId, traceparent }: Omit<HeldJob, "rank">): void {
    this.#sql.exec(
      "INSERT INTO held_jobs (prediction_id, job, request_id, traceparent) VALUES (?, ?, ?, ?)",
      id,
      job.slice(),
      requestId,
      traceparent ?? null,
    );
  }

  /** Classes in which a prediction is held. */
  heldClasses(): ServiceClass[] {
    return this.#sql
      .exec<{ version: string; rank: number }>(
        `SELECT DISTINCT version, rank FROM predictions
         WHERE completed_at IS NULL AND held = 1 AND status = 'starting'`,
      )
      .toArray();
  }

  heldCount(): number {
    return this.#sql
      .exec<{ n: number }>(
        "SELECT count(*) AS n FROM predictions WHERE completed_at IS NULL AND held = 1 AND status = 'starting'",
      )
      .one().n;
  }

  isHolding({ version, rank }: ServiceClass): boolean {
    const query = `SELECT 1 FROM predictions
      WHERE completed_at IS NULL AND held = 1 AND status = 'starting' AND version = ? AND rank = ? LIMIT 1`;
    return this.#sql.exec(query, version, rank).toArray().length > 0;
  }

  /** The held prediction of the class whose turn it is. */
  nextHeld({ version, rank }: ServiceClass): HeldJob | undefined {
    return this.#held(
      `SELECT j.*, p.rank FROM predictions p JOIN held_jobs j ON j.prediction_id = p.id
       WHERE p.completed_at IS NULL AND p.held = 1 AND p.status = 'starting' AND p.version = ? AND p.rank = ?
       ORDER BY p.turn, p.id LIMIT 1`,
      version,
      rank,
    )[0];
  }

  /** Jobs that were being dispatched when the hub died: the queue may have them or not. */
  unconfirmed(): HeldJob[] {
    return this.#held(
      `SELECT j.*, p.rank FROM held_jobs j JOIN predictions p ON p.id = j.prediction_id
       WHERE p.completed_at IS NULL AND p.held = 0 AND p.status = 'starting'`,
    );
  }

  /** Marks a job as being dispatched, or as held again, unless a worker has started it. */
  mark(id: string, held: boolean): void {
    this.#sql.exec(
      "UPDATE predictions SET held = ? WHERE id = ? AND completed_at IS NULL AND status = 'starting'",
      held ? 1 : 0,
      id,
    );
  }

  /** The queue has the job, or its prediction has ended. */
  drop(id: string): void {
    this.#sql.exec("DELETE FROM held_jobs WHERE prediction_id = ?", id);
  }

  /** Call before a prediction ends: the work of one that is still held is given back to its owner's later ones. */
  forget(id: string): void {
    this.#sql.exec(
      `UPDATE predictions SET turn = predictions.turn - gone.cost FROM
         (SELECT version, rank, key_name, turn, images * total_steps AS cost FROM predictions
          WHERE id = ? AND held = 1 AND status = 'starting' AND completed_at IS NULL) AS gone
       WHERE predictions.completed_at IS NULL AND predictions.held = 1 AND predictions.status = 'starting'
         AND predictions.version = gone.version AND predictions.rank = gone.rank
         AND predictions.key_name = gone.key_name AND predictions.turn > gone.turn`,
      id,
    );
    this.drop(id);
  }

  #held(query: string, ...values: SqlStorageValue[]): HeldJob[] {
    return this.#sql
      .exec<{
        prediction_id: string;
        job: ArrayBuffer;
        rank: number;
        request_id: string;
        traceparent: string | null;
      }>(query, ...values)
      .toArray()
      .map((row) => ({
        id: row.prediction_id,
        job: new Uint8Array(row.job),
        rank: row.rank,
        requestId: row.request_id,
        traceparent: row.traceparent ?? undefined,
      }));
  }

  #work(query: string, ...values: SqlStorageValue[]): Work {
    const { count, steps } = this.#sql.exec<{ count: number; steps: number }>(query, ...values).one();
    return { count, imageSteps: steps };
  }
}
