// What a hub has to do, for those who look at it: what waits and runs of each version, and how fast recent ones were.

import { type Priority, PRIORITIES } from "@vqd/shared/subjects.ts";
import type { Pace, VersionLoad } from "../../../prediction/records.ts";
import { STAGE } from "../prediction-row.ts";
import { PACE_SAMPLE } from "./queue-store.ts";

type LiveOf = Pick<VersionLoad, "waiting" | "running">;

export class WorkloadStore {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  /** Live predictions by version. */
  live(): Map<string, LiveOf> {
    const counted = this.#sql.exec<{ version: string; rank: number; stage: number; n: number }>(
      `SELECT version, rank, stage, count(*) AS n FROM predictions
       WHERE completed_at IS NULL AND stage IN (${STAGE.held}, ${STAGE.queued}, ${STAGE.running})
       GROUP BY stage, version, rank`,
    );
    const live = new Map<string, { waiting: Record<Priority, number>; running: number }>();
    for (const { version, rank, stage, n } of counted) {
      const of = live.get(version) ?? { waiting: { high: 0, normal: 0, low: 0 }, running: 0 };
      live.set(version, of);
      const priority = PRIORITIES[rank];
      if (stage === STAGE.running) of.running += n;
      else if (priority !== undefined) of.waiting[priority] += n;
    }
    return live;
  }

  /** The pace of versions that have had a success recently. */
  paces(): Map<string, Pace> {
    const recent = this.#sql
      .exec<{ version: string; status: string; seconds: number | null }>(
        `SELECT version, status, predict_seconds / (images * total_steps) AS seconds FROM predictions
         WHERE completed_at IS NOT NULL ORDER BY completed_at DESC LIMIT ?`,
        PACE_SAMPLE,
      )
      .toArray()
      .flatMap(({ version, status, seconds }) =>
        status === "succeeded" && seconds !== null ? [{ version, seconds }] : [],
      );
    const paces = [...Map.groupBy(recent, ({ version }) => version)].map(
      ([version, runs]): [string, Pace] => {
        const seconds = runs.map((run) => run.seconds).toSorted((a, b) => a - b);
        return [version, { secondsPerImageStep: median(seconds), runs: runs.length }];
      },
    );
    return new Map(paces);
  }
}

/** Of at least one number, in order. */
function median(ordered: readonly number[]): number {
  const [low = 0, high = low] = [ordered[(ordered.length - 1) >> 1], ordered[ordered.length >> 1]];
  return (low + high) / 2;
}
