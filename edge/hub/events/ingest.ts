// Applies a worker's event to its prediction: fencing, the events that readers see, the final status.

import type { ErrorCode } from "@vqd/shared/errors.ts";
import type { PredictionEvent, PreviewEvent, StepEvent } from "@vqd/shared/events.ts";
import { type FileEvent, fileName } from "../storage/files.ts";
import { isNewPercent } from "../storage/steps/tqdm.ts";
import { isFinal, type PredictionStatus } from "../../prediction/statuses.ts";
import type { OutputFile } from "../../prediction/records.ts";
import type { NewEvent } from "../storage/event-store.ts";
import type { PredictionRow } from "../storage/prediction-row.ts";
import { startOf } from "../storage/queue/queue-store.ts";
import type { PredictionStore } from "../storage/store.ts";

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

/** Of an attempt: ten years. */
const MAX_SECONDS = 3e8;

export interface Ending {
  readonly status: Exclude<PredictionStatus, "starting" | "processing">;
  /** Unix time in ms. */
  readonly at: number;
  readonly error?: { readonly code: ErrorCode; readonly message: string };
  readonly predictSeconds?: number;
  /** How long the attempt that ends with it has taken, if that is more than up to its last step. */
  readonly attemptMs?: number;
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
  const { status, at, error, predictSeconds, attemptMs } = ending;
  store.queue.forget(id);
  const events: NewEvent[] = [["done", JSON.stringify({ status, ...DONE_REASONS[status] })]];
  if (error !== undefined) {
    events.unshift(["error", JSON.stringify({ detail: error.message, code: error.code })]);
  }
  store.recordEnd(
    id,
    {
      status,
      completed_at: at,
      ...(error === undefined ? {} : { error_code: error.code, error_message: error.message }),
      ...(predictSeconds === undefined ? {} : { predict_seconds: predictSeconds }),
      ...(attemptMs === undefined ? {} : { attempt_ms: attemptMs }),
      ...(ending.release === true ? { release: 1 } : {}),
    },
    ...events,
  );
  store.usage.count(id, Date.now());
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
      const { attempt, total, resumedFrom, numericsId } = event;
      const data = { attempt, total, resumed_from: resumedFrom, numerics_id: numericsId };
      const changes = {
        status: "processing",
        attempt: event.attempt,
        attempt_started_at: event.at,
        resumed_from: event.resumedFrom,
        // With the same numerics the tokens are the same, so readers need not see those steps again.
        step: event.numericsId === row.numericsId ? Math.max(row.step, event.resumedFrom) : event.resumedFrom,
        previews_seen: event.numericsId === row.numericsId ? row.previewsSeen : 0,
        ...beforeAttempt(row),
        numerics_id: event.numericsId,
        started_at: row.startedAt ?? at,
        // Where steps are lost, as between workers with different numerics, handing a job to and fro might never end it.
        yields: event.yields === true && event.resumedFrom >= row.step ? 1 : 0,
        ...startOf(row, Date.now()),
      } as const;
      store.record(row.id, changes, ["started", JSON.stringify(data)]);
      // What an attempt with other numerics began with says nothing of this one.
      if (row.numericsId !== null && event.numericsId !== row.numericsId) store.beginnings.forget(row.id);
      // A further attempt is not another start.
      if (row.startedAt === null) store.webhooks.queue(row.id, "start", Date.now());
      return true;
    }
    case "beginning":
      store.beginnings.keep(row.id, event, attachment);
      if (event.step > 0) store.update(row.id, { spared: event.step });
      return true;
    case "step":
      return ingestStep(store, row, event, attachment, at);
    case "preview":
      return ingestPreview(store, row, event, attachment);
    case "output": {
      const file: OutputFile = { index: event.index, name: fileName(event) };
      if (!isFileDue(row, event)) return false;
      const outputs = [...row.outputs, file].toSorted((a, b) => a.index - b.index);
      const fileBytes = row.fileBytes + attachment.length;
      const changes = { outputs: JSON.stringify(outputs), file_bytes: fileBytes };
      store.record(row.id, changes, ["output", JSON.stringify(file)]);
      store.webhooks.queue(row.id, "output", Date.now());
      return true;
    }
    case "succeeded": {
      const missing = row.images - row.outputs.length;
      const attemptMs = msOf(event.predictSeconds);
      if (missing === 0) {
        const predictSeconds = secondsWith(row, event.predictSeconds);
        endPrediction(store, row.id, { status: "succeeded", at, predictSeconds, attemptMs });
      } else {
        const message = `the worker reported success, but ${missing} of ${row.images} images are missing`;
        const error = { code: "internal", message } as const;
        endPrediction(store, row.id, { status: "failed", at, error, attemptMs });
      }
      return true;
    }
    case "failed":
      endPrediction(store, row.id, {
        status: "failed",
        at,
        error: event.error,
        attemptMs: msUntil(row, event),
      });
      return true;
    case "canceled":
      endPrediction(store, row.id, { status: "canceled", at, attemptMs: msUntil(row, event) });
      return true;
    case "yielded":
      if (event.attempt !== row.attempt) return false;
      store.queue.takeBack(row, Date.now());
      // Said twice, it has taken no longer.
      if (row.attemptStartedAt === null) return false;
      store.events.flush(row.id);
      store.update(row.id, {
        predict_seconds: secondsWith(row, event.predictSeconds),
        attempt_started_at: null,
        worker_ms: row.workerMs + msOf(event.predictSeconds),
        attempt_ms: 0,
      });
      return true;
  }
}

/** What earlier attempts have done, when another begins. */
const beforeAttempt = ({ furthest, step, workerMs, attemptMs }: PredictionRow) => ({
  furthest: Math.max(furthest, step),
  worker_ms: workerMs + attemptMs,
  attempt_ms: 0,
});

/** A worker may say anything: no more than fits. What counts is bounded when the prediction ends. */
const msOf = (seconds: number): number => Math.round(Math.min(seconds, MAX_SECONDS) * 1_000);

/** How long the attempt has taken up to an event that does not say so, by the clock of its worker. */
const msUntil = (
  { attempt, attemptStartedAt, attemptMs }: PredictionRow,
  event: Pick<PredictionEvent, "attempt" | "at">,
): number =>
  attemptStartedAt === null || event.attempt !== attempt
    ? attemptMs
    : Math.max(attemptMs, event.at - attemptStartedAt);

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
  const { step, total, timestep, masked, images, attempt } = event;
  const isStart = row.status === "starting" || attempt !== row.attempt || row.startedAt === null;
  if (isStart) {
    store.events.flush(row.id);
    const startedAt = row.startedAt ?? at;
    store.update(row.id, {
      status: "processing",
      attempt,
      started_at: startedAt,
      ...startOf(row, Date.now()),
      ...(attempt === row.attempt ? {} : { attempt_started_at: event.at, ...beforeAttempt(row) }),
    });
  }
  const attemptStartedAt = attempt === row.attempt ? row.attemptStartedAt : null;
  const elapsedMs = Math.max(0, event.at - (attemptStartedAt ?? event.at));
  const context = { total, images, from: row.resumedFrom };
  store.events.addStep(
    row.id,
    context,
    { step, timestep, masked, elapsedMs, tokens: attachment },
    row.eventSeq,
  );
  // What begins an attempt is written with it; and whoever looks for the jobs that take up a slot has to know at once that this one
  // no longer does.
  if (isStart || step === total) store.events.flush(row.id);
  if (row.webhookEvents.includes("logs") && isNewPercent(step, total))
    store.webhooks.queue(row.id, "logs", Date.now());
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
  const changes = {
    previews_seen: placeOf(row, event) + 1,
    file_bytes: row.fileBytes + attachment.length,
  };
  const data = { index, preview, step, name: fileName(event) };
  store.record(row.id, changes, ["preview", JSON.stringify(data)]);
  return true;
}
