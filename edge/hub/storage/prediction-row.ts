// A prediction as the hub stores it: the columns of a new one, and rows read back.

import type { ErrorCode } from "@vqd/shared/errors.ts";
import { imageCount, type Job } from "@vqd/shared/job.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { PRIORITIES, type Priority } from "@vqd/shared/subjects.ts";
import type { InputFile, NewPrediction, OutputFile, PredictionRecord } from "../../prediction/records.ts";
import { ownIdOf } from "../../prediction/own-id.ts";
import type { PredictionStatus } from "../../prediction/statuses.ts";
import type { WebhookEvent } from "../../prediction/webhook-events.ts";
import { byteLength } from "../../util/bytes.ts";
import { number, numberOrNull, type Row, text, textOrNull } from "./columns.ts";

/** Where the job of a live prediction is: with the hub, in the workers' queue, or with a worker. */
export const STAGE = { held: 0, queued: 1, running: 2 } as const;
export type Stage = (typeof STAGE)[keyof typeof STAGE];

/** A prediction with the fields that only the hub needs. */
export interface PredictionRow extends PredictionRecord {
  readonly keyName: string;
  /** Of the key it was made with; empty for those of earlier releases. */
  readonly keyId: string;
  readonly jobSeq: number | null;
  /** By the clock of its worker; null before the first, and once it has handed the job back. */
  readonly attemptStartedAt: number | null;
  readonly resumedFrom: number;
  /** One more than the position (preview x images + index) of the last preview shown. */
  readonly previewsSeen: number;
  /** Events of its stream so far. */
  readonly eventSeq: number;
  readonly queueDeadlineAt: number;
  /** Rank of its priority; 0 is served first. */
  readonly rank: number;
  /** When it is served among those of its version and rank, in image-steps. */
  readonly turn: number;
  readonly stage: Stage;
  /** Unix time in ms at which a worker handed it back for others; null unless it waits to be continued. */
  readonly yieldedAt: number | null;
  readonly runTimeoutMs: number;
  /** Unix time in ms. */
  readonly cancelAt: number | null;
  /** When it is canceled because its client has disconnected, as Unix time in ms; null as long as somebody wants it. */
  readonly abandonedUntil: number | null;
  readonly requestHash: string | null;
  /** When its owner deleted it, as Unix time in ms: since then it exists for nobody. */
  readonly deletedAt: number | null;
  /** Origin of links in webhooks. */
  readonly origin: string;
  /** Unguessable URL segment of the files that it starts from, in the order in which they follow the job. */
  readonly inputCapability: string;
  readonly inputFiles: readonly InputFile[];
  /** Bytes of its images in object storage, and of the files that it starts from. */
  readonly fileBytes: number;
  /** Bytes of its steps, previews and log lines in the database. */
  readonly stepBytes: number;
  /** The furthest step of an attempt after which it was started over. */
  readonly furthest: number;
  /** How long workers had it before the last attempt, and in that up to its last step. */
  readonly workerMs: number;
  readonly attemptMs: number;
}

/** Key of the prediction's model. */
export const keyOf = ({ model, version }: PredictionRow): string => modelKey({ name: model, version });

/** Rank of a priority in the order of service; 0 is served first. */
export const rankOf = (priority: Priority): number => PRIORITIES.indexOf(priority);

/** Bytes of the files that a new prediction starts from. */
export const inputBytes = ({ inputFiles }: Pick<NewPrediction, "inputFiles">): number =>
  inputFiles.reduce((sum, { bytes }) => sum + bytes, 0);

export type NewRow = ReturnType<typeof newRow>;

/** Bytes that a record takes beside its input, roughly. */
const RECORD_OVERHEAD_BYTES = 2_000;

/** Bytes that a new prediction's record takes. */
export const recordBytes = ({ inputJson }: Pick<NewPrediction, "inputJson">): number =>
  byteLength(inputJson) + RECORD_OVERHEAD_BYTES;

/** The columns of a new prediction. */
export function newRow(
  job: Job,
  prediction: NewPrediction,
  { turn, isHeld }: { turn: number; isHeld: boolean } = { turn: 0, isHeld: false },
) {
  return {
    id: job.id,
    key_name: prediction.keyName,
    key_id: prediction.keyId,
    status: "starting",
    model: job.model,
    version: job.version,
    input: prediction.inputJson,
    prompt_tokens: prediction.promptTokens,
    prompt_truncated: prediction.promptTruncated ? 1 : 0,
    images: imageCount(job),
    total_steps: job.numInferenceSteps,
    file_capability: prediction.fileCapability,
    stream_capability: prediction.streamCapability,
    input_capability: prediction.inputCapability,
    input_files: JSON.stringify(prediction.inputFiles),
    file_bytes: inputBytes(prediction),
    created_at: job.createdAt,
    queue_deadline_at: job.createdAt + prediction.queueTimeoutMs,
    run_timeout_ms: prediction.runTimeoutMs,
    cancel_at: prediction.cancelAfterMs === null ? null : job.createdAt + prediction.cancelAfterMs,
    idempotency_key: prediction.idempotency?.key ?? null,
    request_hash: prediction.idempotency?.requestHash ?? prediction.retry?.requestHash ?? null,
    webhook: prediction.webhook?.url ?? null,
    webhook_events: JSON.stringify(prediction.webhook?.events ?? []),
    origin: prediction.origin,
    rank: rankOf(prediction.priority),
    record_bytes: recordBytes(prediction),
    turn,
    stage: isHeld ? STAGE.held : STAGE.queued,
  } satisfies Row;
}

export function toPrediction(row: Row): PredictionRow {
  return {
    id: text(row["id"]),
    ownId: ownIdOf(textOrNull(row["idempotency_key"])),
    keyName: text(row["key_name"]),
    keyId: text(row["key_id"]),
    status: text(row["status"]) as PredictionStatus,
    model: text(row["model"]),
    version: text(row["version"]),
    // That of a deleted one is gone.
    inputJson: text(row["input"] ?? "{}"),
    promptTokens: number(row["prompt_tokens"]),
    promptTruncated: number(row["prompt_truncated"]) === 1,
    images: number(row["images"]),
    totalSteps: number(row["total_steps"]),
    fileCapability: text(row["file_capability"]),
    streamCapability: text(row["stream_capability"]),
    shareCapability: textOrNull(row["share_capability"]),
    jobSeq: numberOrNull(row["job_seq"]),
    attempt: number(row["attempt"]),
    attemptStartedAt: numberOrNull(row["attempt_started_at"]),
    resumedFrom: number(row["resumed_from"]),
    previewsSeen: number(row["previews_seen"]),
    eventSeq: number(row["event_seq"]),
    step: number(row["step"]),
    numericsId: textOrNull(row["numerics_id"]),
    outputs: JSON.parse(text(row["outputs"])) as OutputFile[],
    errorCode: textOrNull(row["error_code"]) as ErrorCode | null,
    errorMessage: textOrNull(row["error_message"]),
    logs: text(row["logs"]),
    queue: null,
    predictSeconds: numberOrNull(row["predict_seconds"]),
    createdAt: number(row["created_at"]),
    startedAt: numberOrNull(row["started_at"]),
    completedAt: numberOrNull(row["completed_at"]),
    queueDeadlineAt: number(row["queue_deadline_at"]),
    runTimeoutMs: number(row["run_timeout_ms"]),
    rank: number(row["rank"]),
    turn: number(row["turn"]),
    stage: number(row["stage"]) as Stage,
    yieldedAt: numberOrNull(row["yielded_at"]),
    cancelAt: numberOrNull(row["cancel_at"]),
    abandonedUntil: numberOrNull(row["abandoned_until"]),
    requestHash: textOrNull(row["request_hash"]),
    deletedAt: numberOrNull(row["deleted_at"]),
    webhook: textOrNull(row["webhook"]),
    webhookEvents: JSON.parse(text(row["webhook_events"])) as WebhookEvent[],
    origin: text(row["origin"]),
    inputCapability: text(row["input_capability"]),
    inputFiles: JSON.parse(text(row["input_files"])) as InputFile[],
    fileBytes: number(row["file_bytes"]),
    stepBytes: number(row["step_bytes"]),
    furthest: number(row["furthest"]),
    workerMs: number(row["worker_ms"]),
    attemptMs: number(row["attempt_ms"]),
    filesExpired: number(row["files_expired"]) === 1,
  };
}
