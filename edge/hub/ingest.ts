// Applies a worker's event to its prediction: fencing, the events that readers see, the final status.

import { encodeBase64 } from "../util/bytes.ts";
import type { ErrorCode } from "@vqd/shared/errors.ts";
import type { PredictionEvent, PreviewEvent, StepEvent } from "@vqd/shared/events.ts";
import { type FileEvent, fileName } from "./storage/files.ts";
import { isNewPercent, progressLine } from "./tqdm.ts";
import { isFinal, type PredictionStatus } from "../prediction/statuses.ts";
import type { OutputFile } from "../prediction/records.ts";
import type { PredictionRow } from "./storage/prediction-row.ts";
import type { PredictionStore } from "./storage/store.ts";

/** True if `event` must have no effect, because its prediction has ended or a newer attempt has taken over. */
export function isFenced(row: PredictionRow, event: PredictionEvent): boolean {
  return isFinal(row.status) || event.attempt < row.attempt;
}

/** True if `event` brings an image that has not been stored: what readers were shown is not replaced. */
export function isFileDue(row: PredictionRow, event: PredictionEvent): event is FileEvent {
  if (event.type === "output") return !row.outputs.some(({ index }) => index === event.index);
  return event.type === "preview" && placeOf(row, event) >= row.previewsSeen;
}

/** Previews come in order, all images of one before the next. */
const placeOf = ({ images }: PredictionRow, { index, preview }: PreviewEvent): number =>
  preview * images + index;

export interface Ending {
  readonly status: Exclude<PredictionStatus, "starting" | "processing">;
  /** Unix time in ms. */
  readonly at: number;
  readonly error?: { readonly code: ErrorCode; readonly message: string };
  readonly predictSeconds?: number;
  /** The queue and the worker have yet to be notified: set if the hub ended the prediction. */
  readonly release?: boolean;
}

const DONE_REASONS = {
  failed: { reason: "error" },
  canceled: { reason: "canceled" },
  aborted: { reason: "canceled" },
  succeeded: {},
} as const;

/** Ends a prediction for good. Call within a transaction. */
export function endPrediction(store: PredictionStore, id: string, ending: Ending): void {
  const { status, at, error, predictSeconds } = ending;
  store.queue.forget(id);
  store.update(id, {
    status,
    completed_at: at,
    ...(error === undefined ? {} : { error_code: error.code, error_message: error.message }),
    ...(predictSeconds === undefined ? {} : { predict_seconds: predictSeconds }),
    ...(ending.release === true ? { release: 1 } : {}),
  });
  if (error !== undefined) {
    store.events.append(id, "error", JSON.stringify({ detail: error.message, code: error.code }));
  }
  store.events.append(id, "done", JSON.stringify({ status, ...DONE_REASONS[status] }));
  store.countSteps(id);
  store.webhooks.queue(id, "completed", Date.now());
}

/**
 * Applies an event to its prediction; a fenced or repeated event has no effect. Call within a transaction, in stream
 * order, and for an `output` after its file has been stored. Returns whether there is anything new for readers.
 */
export function ingest(
  store: PredictionStore,
  row: PredictionRow,
  event: PredictionEvent,
  attachment: Uint8Array,
): boolean {
  if (isFenced(row, event)) return false;
  // A worker's clock may be off: no time may lie outside the prediction's lifetime.
  const at = Math.min(Math.max(event.at, row.createdAt), Date.now());
  switch (event.type) {
    case "started": {
      if (event.attempt === row.attempt) return false;
      store.update(row.id, {
        status: "processing",
        attempt: event.attempt,
        attempt_started_at: event.at,
        resumed_from: event.resumedFrom,
        // With the same numerics the tokens are the same, so readers need not see those steps again.
        step: event.numericsId === row.numericsId ? Math.max(row.step, event.resumedFrom) : event.resumedFrom,
        previews_seen: event.numericsId === row.numericsId ? row.previewsSeen : 0,
        numerics_id: event.numericsId,
        started_at: row.startedAt ?? at,
        // Where steps are lost, as between workers with different numerics, handing a job to and fro might never end it.
        yields: event.yields === true && event.resumedFrom >= row.step ? 1 : 0,
      });
      // What an attempt with other numerics began with says nothing of this one.
      if (event.numericsId !== row.numericsId) store.beginnings.forget(row.id);
      store.queue.start(row.id, Date.now());
      const { attempt, total, resumedFrom, numericsId } = event;
      const data = { attempt, total, resumed_from: resumedFrom, numerics_id: numericsId };
      store.events.append(row.id, "started", JSON.stringify(data));
      // A further attempt is not another start.
      if (row.startedAt === null) store.webhooks.queue(row.id, "start", Date.now());
      return true;
    }
    case "beginning":
      store.beginnings.keep(row.id, event, attachment);
      return true;
    case "step":
      return ingestStep(store, row, event, attachment, at);
    case "preview":
      return ingestPreview(store, row, event, attachment);
    case "output": {
      const file: OutputFile = { index: event.index, name: fileName(event) };
      if (!isFileDue(row, event)) return false;
      const outputs = [...row.outputs, file].toSorted((a, b) => a.index - b.index);
      store.update(row.id, {
        outputs: JSON.stringify(outputs),
        file_bytes: row.fileBytes + attachment.length,
      });
      store.events.append(row.id, "output", JSON.stringify(file));
      store.webhooks.queue(row.id, "output", Date.now());
      return true;
    }
    case "succeeded": {
      const missing = row.images - row.outputs.length;
      if (missing === 0) {
        const predictSeconds = secondsWith(row, event.predictSeconds);
        endPrediction(store, row.id, { status: "succeeded", at, predictSeconds });
      } else {
        const message = `the worker reported success, but ${missing} of ${row.images} images are missing`;
        endPrediction(store, row.id, { status: "failed", at, error: { code: "internal", message } });
      }
      return true;
    }
    case "failed":
      endPrediction(store, row.id, { status: "failed", at, error: event.error });
      return true;
    case "canceled":
      endPrediction(store, row.id, { status: "canceled", at });
      return true;
    case "yielded":
      if (event.attempt !== row.attempt) return false;
      store.queue.takeBack(row, Date.now());
      store.update(row.id, { predict_seconds: secondsWith(row, event.predictSeconds) });
      return true;
  }
}

/** Seconds of all attempts but those that died. The pace of a model is taken from it: no more than the prediction has lived. */
const secondsWith = ({ predictSeconds, createdAt }: PredictionRow, seconds: number): number =>
  Math.min((predictSeconds ?? 0) + seconds, (Date.now() - createdAt) / 1_000);

function ingestStep(
  store: PredictionStore,
  row: PredictionRow,
  event: StepEvent,
  attachment: Uint8Array,
  at: number,
): boolean {
  if (event.attempt === row.attempt && event.step <= row.step) return false;
  const { step, total, timestep, masked, images } = event;
  store.update(row.id, {
    status: "processing",
    attempt: event.attempt,
    step,
    started_at: row.startedAt ?? at,
  });
  if (row.status === "starting") store.queue.start(row.id, Date.now());
  const tokens = encodeBase64(attachment);
  store.events.append(row.id, "step", JSON.stringify({ step, total, timestep, masked, images, tokens }));
  if (isNewPercent(step, total)) {
    const elapsedSeconds = Math.max(0, event.at - (row.attemptStartedAt ?? event.at)) / 1_000;
    store.events.appendLog(row.id, progressLine({ step, total, from: row.resumedFrom, elapsedSeconds }));
    store.webhooks.queue(row.id, "logs", Date.now());
  }
  return true;
}

/** A worker that resumes from a state older than the last preview sends some previews again. */
function ingestPreview(
  store: PredictionStore,
  row: PredictionRow,
  event: PreviewEvent,
  attachment: Uint8Array,
): boolean {
  if (!isFileDue(row, event)) return false;
  const { index, preview, step } = event;
  store.update(row.id, {
    previews_seen: placeOf(row, event) + 1,
    file_bytes: row.fileBytes + attachment.length,
  });
  store.events.append(row.id, "preview", JSON.stringify({ index, preview, step, name: fileName(event) }));
  return true;
}
