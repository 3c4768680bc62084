// Why an answer has no images.

import { VqdError } from "@vqd/shared/errors.ts";
import type { PredictionRecord } from "../prediction/records.ts";

const RETRY_SECONDS = 5;
/** Fields whose files only a worker can decode; its error begins with the field's name. */
const DECODED = /^(image|mask|tokens) (.+)$/s;
/** Failures that a retry may well not run into again. */
const RETRYABLE = new Set(["no_worker", "queue_unavailable", "queue_full", "attempts_exhausted"]);

/** Throws a VqdError (images_expired) if the images of an earlier idempotent request have expired. */
export function checkImages({ id, status, filesExpired }: PredictionRecord): void {
  if (status !== "succeeded" || !filesExpired) return;
  const message = `the images of prediction ${id} have expired; use a new Idempotency-Key to make new ones`;
  throw new VqdError("images_expired", message);
}

/** Why an ended prediction has no images. `hasKey`: with its idempotency key every retry gets this same failure. */
export function failureOf(record: PredictionRecord, hasKey: boolean): VqdError {
  const isCanceled = record.status === "canceled" || record.status === "aborted";
  const code = record.errorCode ?? (isCanceled ? "canceled" : "internal");
  const message = record.errorMessage ?? "the prediction was canceled";
  const retryable = !hasKey && RETRYABLE.has(code);
  const [, path, reason] = (code === "invalid_input" && DECODED.exec(message)) || [];
  return new VqdError(code, message, {
    retryable,
    ...(path === undefined || reason === undefined ? {} : { errors: [{ path, message: reason }] }),
    ...(retryable ? { retryAfterSeconds: RETRY_SECONDS } : {}),
  });
}
