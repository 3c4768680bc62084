// Deadlines: ends overdue predictions, and computes when the alarm is due next.

import type { Config } from "../config.ts";
import { type Ending, endPrediction } from "./events/ingest.ts";
import type { PredictionRow } from "./storage/prediction-row.ts";
import { TOMBSTONE_MS } from "./storage/retention.ts";
import type { PredictionStore } from "./storage/store.ts";
import type { Archiver } from "./archive/archiver.ts";

/** While predictions are live the alarm fires at least this often, to bring back an evicted hub. */
export const LIVE_INTERVAL_MS = 15_000;
/** Shortest interval between alarms, so that work that keeps failing is not retried in a tight loop. */
const MIN_INTERVAL_MS = 250;

function overdue(row: PredictionRow, now: number): Pick<Ending, "status" | "error"> | undefined {
  if (row.cancelAt !== null && now >= row.cancelAt) {
    return { status: row.startedAt === null ? "aborted" : "canceled" };
  }
  if (row.abandonedUntil !== null && now >= row.abandonedUntil) return { status: "canceled" };
  const error = overdueError(row, now);
  return error === undefined ? undefined : { status: "failed", error };
}

function overdueError(row: PredictionRow, now: number): Ending["error"] {
  if (row.startedAt === null) {
    if (now < row.queueDeadlineAt) return undefined;
    const seconds = Math.round((row.queueDeadlineAt - row.createdAt) / 1_000);
    const what = `version ${row.version.slice(0, 12)} of ${row.model}`;
    const how = "vqd models promote lets another version serve the model";
    return {
      code: "no_worker",
      message: `no worker of ${what} picked the prediction up within ${seconds} s; ${how}`,
    };
  }
  // The time for which others were given its slot does not count, but has the same limit.
  if (now < (row.yieldedAt ?? row.startedAt) + row.runTimeoutMs) return undefined;
  const seconds = Math.round(row.runTimeoutMs / 1_000);
  if (row.yieldedAt !== null) {
    return { code: "no_worker", message: `no worker continued the prediction within ${seconds} s` };
  }
  return {
    code: "deadline_exceeded",
    message: `the prediction did not finish within ${seconds} s of its start`,
  };
}

/** Ends live predictions whose deadline has passed, and returns their ids. */
export function endOverdue(store: PredictionStore, now: number): string[] {
  const ended: string[] = [];
  for (const row of store.live()) {
    const ending = overdue(row, now);
    if (ending === undefined) continue;
    store.atomically(() => endPrediction(store, row.id, { ...ending, at: now, release: true }));
    ended.push(row.id);
  }
  return ended;
}

export type Retention = Pick<
  Config,
  "stepRetentionMs" | "fileRetentionMs" | "recordRetentionMs" | "archiveRetentionMs"
>;

/** When the alarm has work to do next, as Unix time in ms; null for never. */
export function nextAlarm(
  store: PredictionStore,
  archiver: Pick<Archiver, "nextAt">,
  retention: Retention,
  now: number,
): number | null {
  const times: number[] = [];
  const deadline = store.nextDeadline();
  if (deadline !== null) times.push(deadline, now + LIVE_INTERVAL_MS);
  const webhook = store.webhooks.nextAt();
  if (webhook !== null) times.push(webhook);
  const oldest = store.oldestEnds();
  if (oldest.steps !== null) times.push(oldest.steps + retention.stepRetentionMs);
  if (oldest.files !== null) times.push(oldest.files + retention.fileRetentionMs);
  if (oldest.record !== null && retention.archiveRetentionMs === undefined) {
    times.push(oldest.record + retention.recordRetentionMs);
  }
  const archive = archiver.nextAt(oldest.record, now);
  if (archive !== null) times.push(archive);
  const upload = store.uploads.nextExpiry();
  if (upload !== null) times.push(upload);
  const deleted = store.tombstones.oldest();
  // Later if its job is still in the queue, which NATS has to be reachable for.
  if (deleted !== null) times.push(Math.max(deleted + TOMBSTONE_MS, now + LIVE_INTERVAL_MS));
  return times.length === 0 ? null : Math.max(now + MIN_INTERVAL_MS, Math.min(...times));
}
