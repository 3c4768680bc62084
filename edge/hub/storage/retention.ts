// Retention: deletes the steps of ended predictions first, then their images, then the predictions themselves, or moves them to the
// archive.

import type { Config } from "../../config.ts";
import type { Archiver } from "../archive/archiver.ts";
import { deleteImages } from "./files.ts";
import type { PredictionStore } from "./store.ts";
import type { Uploads } from "../uploads.ts";

/** Maximum number of predictions whose files one call deletes, to keep the alarm short. */
const EXPIRE_BATCH = 100;

/** How long what remains of a deleted prediction is kept: longer than an image that was under way takes to be stored. */
export const TOMBSTONE_MS = 60_000;

/** Deletes everything whose retention has ended. */
export async function expire(
  store: PredictionStore,
  uploads: Uploads,
  archiver: Archiver,
  files: R2Bucket,
  config: Config,
  now: number,
): Promise<void> {
  const { stepRetentionMs, fileRetentionMs, recordRetentionMs, archiveRetentionMs, ...accounting } = config;
  store.atomically(() => store.expireSteps(now - stepRetentionMs));
  for (const row of store.withExpiredFiles(now - fileRetentionMs, EXPIRE_BATCH)) {
    await deleteImages(files, row);
    store.update(row.id, { files_expired: 1, file_bytes: 0 });
  }
  await uploads.expire(now, EXPIRE_BATCH);
  for (const row of store.tombstones.due(now - TOMBSTONE_MS, EXPIRE_BATCH)) {
    await deleteImages(files, row);
    store.remove(row.id);
  }
  // Deleted ones went above.
  if (archiveRetentionMs === undefined) store.atomically(() => store.expireRecords(now - recordRetentionMs));
  await archiver.run(now);
  store.atomically(() => store.usage.expire(now, accounting.usageRetentionMs));
  store.audit.expire(now, now - accounting.auditRetentionMs);
}
