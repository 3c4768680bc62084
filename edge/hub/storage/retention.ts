// What the hub forgets with time: steps first, then images, then the predictions themselves.

import type { Config } from "../../config.ts";
import { deleteImages } from "./files.ts";
import type { PredictionStore } from "./store.ts";

/** Files that one call removes at most, so that an alarm stays short. */
const EXPIRE_BATCH = 100;

/** Removes what is older than `config` keeps it. */
export async function expire(
  store: PredictionStore,
  files: R2Bucket,
  { stepRetentionMs, fileRetentionMs, recordRetentionMs }: Config,
  now: number,
): Promise<void> {
  store.atomically(() => store.expireSteps(now - stepRetentionMs));
  for (const row of store.withExpiredFiles(now - fileRetentionMs, EXPIRE_BATCH)) {
    await deleteImages(files, row);
    store.update(row.id, { files_expired: 1 });
  }
  store.atomically(() => {
    store.expireRecords(now - recordRetentionMs);
    store.webhooks.expire();
  });
}
