// Predictions of long ago, and an archiver that acts on them at any time.

import { env } from "cloudflare:workers";
import { Archiver, type ArchiverOptions } from "../../edge/hub/archive/archiver.ts";
import { newRow } from "../../edge/hub/storage/prediction-row.ts";
import { HubMetrics } from "../../edge/hub/metrics.ts";
import type { PredictionStore } from "../../edge/hub/storage/store.ts";
import type { NewPrediction } from "../../edge/prediction/records.ts";
import { createLogger } from "../../shared/log.ts";
import { newJob, newPrediction } from "./support.ts";
import { end } from "./stored.ts";

export const DAY = 86_400_000;
/** Less than a hub of the tests keeps records, which has no archive: it leaves what is archived here alone. */
export const RETENTION = { recordRetentionMs: DAY, archiveRetentionMs: 100 * DAY };

/** Stores a prediction that was made then, and ended a second later, with a prompt that is its id. */
export function insertEnded(
  store: PredictionStore,
  keyName: string,
  createdAt: number,
  changes: Partial<NewPrediction> = {},
  shard = 0,
): string {
  const job = { ...newJob(shard, 2), createdAt };
  const inputJson = JSON.stringify({ prompt: `prompt ${job.id}` });
  store.insert(newRow(job, { ...newPrediction(job, keyName), inputJson, ...changes }));
  end(store, job.id);
  store.update(job.id, { completed_at: createdAt + 1_000, files_expired: 1 });
  return job.id;
}

export const newArchiver = (store: PredictionStore, changes: Partial<ArchiverOptions> = {}): Archiver =>
  new Archiver({
    store,
    bucket: env.FILES,
    retention: RETENTION,
    metrics: new HubMetrics(),
    log: createLogger(() => {}),
    ...changes,
  });

/** Lets the archiver do everything that is due by then. */
export async function settle(store: PredictionStore, archiver: Archiver, until: number): Promise<void> {
  for (let now = until - 10 * DAY; ;) {
    const at = archiver.nextAt(store.oldestEnds().record, now);
    if (at === null || at > until) return;
    now = Math.max(now + 1, at);
    await archiver.run(now);
  }
}

/** The objects of an owner's archive by their names, as text. */
export async function objectsOf(keyName: string): Promise<Map<string, string>> {
  const { objects } = await env.FILES.list({ prefix: `archive-${keyName}-` });
  const texts = objects.map(async ({ key }): Promise<[string, string]> => {
    const object = await env.FILES.get(key);
    const text = object?.body.pipeThrough(new DecompressionStream("gzip"));
    return [key, await new Response(text).text()];
  });
  return new Map(await Promise.all(texts));
}
