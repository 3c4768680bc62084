// Who competes for the workers of a model, as SQLite knows it: what runs, what waits, and whose it is.

import type { EventStore } from "../event-store.ts";
import { STAGE } from "../prediction-row.ts";

interface Competitor {
  readonly id: string;
  readonly owner: string;
  /** Rank of its priority; 0 is served first. */
  readonly rank: number;
}

/** A prediction that a worker is denoising. */
export interface RunningJob extends Competitor {
  readonly attempt: number;
  /** Image-steps that this attempt has made. */
  readonly served: number;
  /** Image-steps that remain. */
  readonly remaining: number;
  /** Whether its worker hands it back when asked. */
  readonly yields: boolean;
}

export interface WaitingJob extends Competitor {
  /** Image-steps that remain. */
  readonly imageSteps: number;
  /** Sequence in the workers' queue; null if it is not there, or has just been sent there. */
  readonly sequence: number | null;
}

const WAITING = `SELECT id, key_name AS owner, rank, images * (total_steps - step) AS imageSteps,
  CASE stage WHEN ${STAGE.queued} THEN job_seq END AS sequence FROM predictions WHERE completed_at IS NULL`;

/** Not yet while its files are being stored; and a hub of an earlier release stored the jobs that it held only. */
const IS_STORED = "EXISTS (SELECT 1 FROM jobs WHERE prediction_id = id)";

type RunningRow = Record<"images" | "step" | "resumed_from" | "total_steps" | "yields", number> &
  Pick<RunningJob, "id" | "owner" | "rank" | "attempt">;

export class ContentionStore {
  readonly #sql: SqlStorage;
  /** Knows of steps that have yet to be written. */
  readonly #events: Pick<EventStore, "progressOf">;

  constructor(storage: DurableObjectStorage, events: Pick<EventStore, "progressOf">) {
    this.#sql = storage.sql;
    this.#events = events;
  }

  /** Versions for which something waits. */
  versions(): string[] {
    return this.#sql
      .exec<{ version: string }>(
        `SELECT DISTINCT version FROM predictions INDEXED BY predictions_live
         WHERE completed_at IS NULL AND stage IN (${STAGE.held}, ${STAGE.queued})`,
      )
      .toArray()
      .map(({ version }) => version);
  }

  /** All that take up a slot. Those that have made all their steps do not. */
  running(version: string): RunningJob[] {
    return this.#sql
      .exec<RunningRow>(
        `SELECT id, key_name AS owner, rank, attempt, images, step, resumed_from, total_steps,
           yields AND ${IS_STORED} AS yields
         FROM predictions
         WHERE completed_at IS NULL AND stage = ${STAGE.running} AND version = ? AND step < total_steps`,
        version,
      )
      .toArray()
      .map(({ id, owner, rank, attempt, images, resumed_from: from, total_steps: total, ...row }) => {
        const step = this.#events.progressOf(id)?.step ?? row.step;
        const served = images * (step - from);
        return {
          id,
          owner,
          rank,
          attempt,
          served,
          remaining: images * (total - step),
          yields: row.yields === 1,
        };
      });
  }

  /** What each owner has waiting longest, in the order of service. */
  firstWaiting(version: string): WaitingJob[] {
    const seen = new Set<string>();
    // The owners are few, their predictions may be many: they are read in order, and only the first of each is kept.
    const rows = this.#waiting(
      `${WAITING} AND (stage = ${STAGE.queued} OR stage = ${STAGE.held} AND ${IS_STORED}) AND version = ?
       ORDER BY rank, turn, id`,
      version,
    );
    return rows.filter(({ owner }) => !seen.has(owner) && seen.add(owner));
  }

  /** All in the workers' queue that could be taken out of it. */
  queued(version: string): WaitingJob[] {
    return this.#waiting(`${WAITING} AND stage = ${STAGE.queued} AND version = ? AND ${IS_STORED}`, version);
  }

  #waiting(query: string, version: string): WaitingJob[] {
    return this.#sql.exec<WaitingJob & Record<string, SqlStorageValue>>(query, version).toArray();
  }
}
