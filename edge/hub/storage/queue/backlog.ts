// The work that workers have yet to do, by model and priority: what they are scaled by.

import { type Priority, PRIORITIES } from "@vqd/shared/subjects.ts";
import { STAGE } from "../prediction-row.ts";

/** An amount of work. */
export interface Work {
  /** Number of predictions. */
  readonly count: number;
  /** Their remaining work: images times remaining steps. */
  readonly imageSteps: number;
}

const STATES = ["waiting", "running"] as const;

export interface Backlog extends Work {
  readonly model: string;
  readonly version: string;
  readonly priority: Priority;
  /** Waiting, in the hub or in the workers' queue, or in a worker. */
  readonly state: (typeof STATES)[number];
}

/** The backlog of each version that is announced or has work, of every priority and state, zeros included. */
export function backlog(sql: SqlStorage): Backlog[] {
  const live = sql
    .exec<{ model: string; version: string; rank: number; running: number; count: number; steps: number }>(
      `SELECT model, version, rank, stage = ${STAGE.running} AS running, count(*) AS count,
         sum(images * (total_steps - step)) AS steps
       FROM predictions WHERE completed_at IS NULL GROUP BY 1, 2, 3, 4`,
    )
    .toArray();
  const announced = sql
    .exec<{ model: string; version: string }>(
      "SELECT json_extract(manifest, '$.name') AS model, json_extract(manifest, '$.version') AS version FROM models",
    )
    .toArray();
  const versions = new Map(
    [...announced, ...live].map(({ model, version }) => [`${model}:${version}`, { model, version }]),
  );
  return [...versions.values()].flatMap(({ model, version }) =>
    PRIORITIES.flatMap((priority, rank) =>
      STATES.map((state): Backlog => {
        const found = live.find(
          (row) =>
            row.model === model &&
            row.version === version &&
            row.rank === rank &&
            (row.running === 1) === (state === "running"),
        );
        return { model, version, priority, state, count: found?.count ?? 0, imageSteps: found?.steps ?? 0 };
      }),
    ),
  );
}
