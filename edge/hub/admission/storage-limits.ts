// Refuses predictions of an owner that stores too much: records in the hub, and images in object storage.

import { VqdError } from "@vqd/shared/errors.ts";
import type { Config } from "../../config.ts";
import type { PredictionStore } from "../storage/store.ts";

const MIN_RETRY_SECONDS = 5;
const MB = 1_000_000;

type Limits = Pick<Config, "recordLimitBytes" | "fileLimitBytes" | "recordRetentionMs" | "fileRetentionMs">;

/**
 * Call before a prediction is stored whose record and files take so many more bytes. What live predictions have yet to produce is not known, so
 * a limit may be exceeded by as much. Throws a VqdError (storage_full) that says when the oldest of it is deleted.
 */
export function admitToStorage(
  store: PredictionStore,
  keyName: string,
  more: { readonly records: number; readonly files: number },
  { recordLimitBytes, fileLimitBytes, recordRetentionMs, fileRetentionMs }: Limits,
): void {
  const { records, files } = store.bytesOf(keyName);
  if (records + more.records > recordLimitBytes) {
    throw full(store, keyName, "records", recordLimitBytes, recordRetentionMs);
  }
  if (files >= fileLimitBytes || files + more.files > fileLimitBytes)
    throw full(store, keyName, "images", fileLimitBytes, fileRetentionMs);
}

/** Size of a hub's database at which it takes no more: a tenth before the 10 GB that one may have, for what it has to finish. */
const MAX_DATABASE_BYTES = 9e9;
const DATABASE_RETRY_SECONDS = 60;

/** Call before a prediction is stored. Throws a VqdError (queue_full) if the hub's database is nearly full. */
export function admitToDatabase(bytes: number): void {
  if (bytes < MAX_DATABASE_BYTES) return;
  throw new VqdError("queue_full", "this service's database is nearly full", {
    retryable: true,
    retryAfterSeconds: DATABASE_RETRY_SECONDS,
  });
}

/** Files that an owner may have uploaded at once: their rows are in the hub. */
const MAX_UPLOADS = 1_000;

/** Call before a file of `newBytes` is stored for its owner. Throws a VqdError (storage_full). */
export function admitFile(
  store: PredictionStore,
  keyName: string,
  newBytes: number,
  { fileLimitBytes, fileRetentionMs }: Pick<Limits, "fileLimitBytes" | "fileRetentionMs">,
): void {
  if (store.bytesOf(keyName).files + newBytes > fileLimitBytes) {
    throw full(store, keyName, "images", fileLimitBytes, fileRetentionMs);
  }
  if (store.uploads.countOf(keyName) < MAX_UPLOADS) return;
  const seconds = Math.ceil(((store.uploads.nextExpiry(keyName) ?? 0) - Date.now()) / 1_000);
  throw new VqdError(
    "storage_full",
    `the key's owner has ${MAX_UPLOADS} uploaded files, which is the limit`,
    {
      retryable: true,
      retryAfterSeconds: Math.max(MIN_RETRY_SECONDS, seconds),
    },
  );
}

function full(
  store: PredictionStore,
  keyName: string,
  what: "records" | "images",
  limit: number,
  retentionMs: number,
): VqdError {
  const endedAt = store.oldestEndOf(keyName, what);
  const seconds = endedAt === null ? 0 : Math.ceil((endedAt + retentionMs - Date.now()) / 1_000);
  return new VqdError(
    "storage_full",
    `the ${what} of the key's owner have reached the limit of ${limit / MB} MB; they are deleted ${retentionMs / 1_000} s after their prediction ends`,
    { retryable: true, retryAfterSeconds: Math.max(MIN_RETRY_SECONDS, seconds) },
  );
}
