// The work of a hub in SQLite: what waits, here or in the workers' queue, what runs, and in which order it is served.

import { type DeviceManifest, deviceManifestSchema } from "@vqd/shared/model.ts";
import { type Backlog, backlog, type Work } from "./backlog.ts";
import type { HeldJob, JobStore } from "./job-store.ts";
import { type PredictionRow, STAGE } from "../prediction-row.ts";

/** Predictions that are served in one order: those of a version with the same rank of priority. */
export interface ServiceClass {
  readonly version: string;
  readonly rank: number;
}

/** What determines when a waiting prediction is served. */
export type QueueTicket = Pick<PredictionRow, "version" | "rank" | "turn" | "id">;

/** The share of a turn that a job which was handed back gets next, in image-steps, unless less remains of it. */
export const LONGEST_TURN = 100;

/** The turn that has been served last in class (?1, ?2). */
const CLOCK = `coalesce((SELECT max(turn) FROM predictions WHERE completed_at IS NULL
  AND stage IN (${STAGE.queued}, ${STAGE.running}) AND version = ?1 AND rank = ?2), 0)`;
/** Number of recently ended predictions that the pace is computed from. */
export const PACE_SAMPLE = 100;

/**
 * What changes when a worker has started a job. One that was recalled at that moment stays held: it is stopped, or its next attempt
 * replaces this one. The time that it has waited for others does not count towards its limit.
 */
export function startOf(
  { stage, runTimeoutMs, yieldedAt }: Pick<PredictionRow, "stage" | "runTimeoutMs" | "yieldedAt">,
  now: number,
) {
  if (stage !== STAGE.queued) return {};
  const waited = yieldedAt === null ? 0 : now - yieldedAt;
  return { stage: STAGE.running, run_timeout_ms: runTimeoutMs + waited, yielded_at: null };
}

export class QueueStore {
  readonly #sql: SqlStorage;
  readonly #jobs: JobStore;

  constructor(storage: DurableObjectStorage, jobs: JobStore) {
    this.#sql = storage.sql;
    this.#jobs = jobs;
  }

  /**
   * The turn of an owner's next prediction: its finish tag in self-clocked fair queueing (Golestani, 1994), in image-steps. It
   * follows the owner's last held prediction, or the clock, which is the turn that has been served last.
   */
  turnOf(keyName: string, { version, rank }: ServiceClass, imageSteps: number): number {
    const { start } = this.#sql
      .exec<{ start: number }>(
        `SELECT max(
           ${CLOCK},
           coalesce((SELECT turn - images * (total_steps - step) FROM predictions WHERE completed_at IS NULL
             AND stage = ${STAGE.held} AND version = ?1 AND rank = ?2 ORDER BY turn LIMIT 1), 0),
           coalesce((SELECT max(turn) FROM predictions WHERE completed_at IS NULL AND stage = ${STAGE.held}
             AND version = ?1 AND rank = ?2 AND key_name = ?3), 0)) AS start`,
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
      `SELECT count(*) AS count, coalesce(sum(images * (total_steps - step)), 0) AS steps FROM predictions
       WHERE completed_at IS NULL AND stage IN (${STAGE.held}, ${STAGE.queued}) AND version = ?
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
       WHERE completed_at IS NULL AND stage = ${STAGE.running} AND version = ?`,
      most,
      version,
    );
  }

  /** Predictions in the workers' queue. */
  dispatched({ version, rank }: ServiceClass): Work {
    return this.#work(
      `SELECT count(*) AS count, coalesce(sum(images * (total_steps - step)), 0) AS steps FROM predictions
       WHERE completed_at IS NULL AND stage = ${STAGE.queued} AND version = ? AND rank = ?`,
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
           (SELECT version, status, predict_seconds, images, total_steps FROM predictions
            WHERE completed_at IS NOT NULL ORDER BY completed_at DESC LIMIT ?)
         WHERE version = ? AND status = 'succeeded'`,
        PACE_SAMPLE,
        version,
      )
      .one().pace;
  }

  backlog(): Backlog[] {
    return backlog(this.#sql);
  }

  /** What a worker of the version has announced of its device. */
  announcedDevice(version: string): DeviceManifest | undefined {
    const query =
      "SELECT json_extract(manifest, '$.device') AS device FROM models WHERE json_extract(manifest, '$.version') = ?";
    const [row] = this.#sql.exec<{ device: string | null }>(query, version).toArray();
    return deviceManifestSchema.safeParse(JSON.parse(row?.device ?? "null")).data;
  }

  /** Classes in which a prediction is held. */
  heldClasses(): ServiceClass[] {
    return this.#sql
      .exec<{ version: string; rank: number }>(
        `SELECT DISTINCT version, rank FROM predictions
         WHERE completed_at IS NULL AND stage = ${STAGE.held}`,
      )
      .toArray();
  }

  heldCount(): number {
    return this.#sql
      .exec<{ n: number }>(
        `SELECT count(*) AS n FROM predictions WHERE completed_at IS NULL AND stage = ${STAGE.held}`,
      )
      .one().n;
  }

  isHolding({ version, rank }: ServiceClass): boolean {
    const query = `SELECT 1 FROM predictions
      WHERE completed_at IS NULL AND stage = ${STAGE.held} AND version = ? AND rank = ? LIMIT 1`;
    return this.#sql.exec(query, version, rank).toArray().length > 0;
  }

  /** The held prediction of the class whose turn it is. */
  nextHeld({ version, rank }: ServiceClass): HeldJob | undefined {
    return this.#jobs.where(
      `p.stage = ${STAGE.held} AND p.version = ? AND p.rank = ? ORDER BY p.turn, p.id LIMIT 1`,
      version,
      rank,
    )[0];
  }

  /** The prediction's job, if the hub holds it. */
  heldJob(id: string): HeldJob | undefined {
    return this.#jobs.where(`p.stage = ${STAGE.held} AND p.id = ?`, id)[0];
  }

  /** Jobs that were being dispatched when the hub died: the queue may have them or not. */
  unconfirmed(): HeldJob[] {
    return this.#jobs.where(`p.stage = ${STAGE.queued} AND p.job_seq IS NULL`);
  }

  /** Marks a held job as being dispatched. */
  dispatching(id: string): void {
    this.#sql.exec(
      `UPDATE predictions SET stage = ${STAGE.queued}, job_seq = NULL
       WHERE id = ? AND completed_at IS NULL AND stage = ${STAGE.held}`,
      id,
    );
  }

  /** The queue did not take the job: the hub holds it again, unless a worker has started it. */
  notDispatched(id: string): void {
    this.#sql.exec(
      `UPDATE predictions SET stage = ${STAGE.held}
       WHERE id = ? AND completed_at IS NULL AND stage = ${STAGE.queued}`,
      id,
    );
  }

  /** Holds a job again that waits in the workers' queue, from where it is to be removed. */
  recall(id: string): void {
    this.notDispatched(id);
    this.#jobs.nextRound(id);
  }

  /**
   * Holds a job again that its worker has handed back; no effect if it is no longer running. Its next turn is a share of what
   * remains, so that it alternates with others that are as long. Of a prediction without a stored job nothing is held.
   */
  takeBack({ id, version, rank }: Pick<PredictionRow, "id" | "version" | "rank">, now: number): void {
    this.#sql.exec(
      `UPDATE predictions SET stage = ${STAGE.held}, yielded_at = ?4,
         turn = ${CLOCK} + min(images * (total_steps - step), ${LONGEST_TURN})
       WHERE id = ?3 AND version = ?1 AND rank = ?2 AND completed_at IS NULL AND stage = ${STAGE.running}
         AND id IN (SELECT prediction_id FROM jobs)`,
      version,
      rank,
      id,
      now,
    );
    this.#jobs.nextRound(id);
  }

  /** Call before a prediction ends: the work of one that was still held is given back to its owner's later ones. */
  forget(id: string): void {
    this.#sql.exec(
      `UPDATE predictions SET turn = predictions.turn - gone.cost FROM
         (SELECT version, rank, key_name, turn, images * total_steps AS cost FROM predictions
          WHERE id = ? AND stage = ${STAGE.held} AND status = 'starting' AND completed_at IS NULL) AS gone
       WHERE predictions.completed_at IS NULL AND predictions.stage = ${STAGE.held}
         AND predictions.status = 'starting' AND predictions.version = gone.version
         AND predictions.rank = gone.rank AND predictions.key_name = gone.key_name
         AND predictions.turn > gone.turn`,
      id,
    );
    this.#jobs.remove(id);
  }

  #work(query: string, ...values: SqlStorageValue[]): Work {
    const { count, steps } = this.#sql.exec<{ count: number; steps: number }>(query, ...values).one();
    return { count, imageSteps: steps };
  }
}
