// A prediction as the hub keeps it: its row in SQLite, made once and read often.

import type { ErrorCode } from "@vqd/shared/errors.ts";
import { imageCount, type Job } from "@vqd/shared/job.ts";
import { PRIORITIES, type Priority } from "@vqd/shared/subjects.ts";
import type { NewPrediction, OutputFile, PredictionRecord } from "../../prediction/records.ts";
import type { PredictionStatus } from "../../prediction/statuses.ts";
import type { WebhookEvent } from "../../prediction/webhook-events.ts";

/** A row as the hub itself needs it. */
export interface PredictionRow extends PredictionRecord {
  readonly keyName: string;
  readonly jobSeq: number | null;
  readonly attemptStartedAt: number | null;
  readonly resumedFrom: number;
  /** Places (preview x images + index) of previews shown so far, plus one. */
  readonly previewsSeen: number;
  readonly queueDeadlineAt: number;
  /** Of its priority: 0 is served first. */
  readonly rank: number;
  readonly runTimeoutMs: number;
  /** Unix time in ms. */
  readonly cancelAt: number | null;
  readonly requestHash: string | null;
  /** Of links in webhooks. */
  readonly origin: string;
}

/** Place of a priority in the order of service. */
export const rankOf = (priority: Priority): number => PRIORITIES.indexOf(priority);

export type NewRow = ReturnType<typeof newRow>;

/** The columns of a prediction that has just been made. */
export function newRow(job: Job, prediction: NewPrediction) {
  return {
    id: job.id,
    key_name: prediction.keyName,
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
    created_at: job.createdAt,
    queue_deadline_at: job.createdAt + prediction.queueTimeoutMs,
    run_timeout_ms: prediction.runTimeoutMs,
    cancel_at: prediction.cancelAfterMs === null ? null : job.createdAt + prediction.cancelAfterMs,
    idempotency_key: prediction.idempotency?.key ?? null,
    request_hash: prediction.idempotency?.requestHash ?? null,
    webhook: prediction.webhook?.url ?? null,
    webhook_events: JSON.stringify(prediction.webhook?.events ?? []),
    origin: prediction.origin,
    rank: rankOf(prediction.priority),
  } satisfies Row;
}

type Row = Record<string, SqlStorageValue>;

const text = (value: SqlStorageValue | undefined): string => (typeof value === "string" ? value : "");
const int = (value: SqlStorageValue | undefined): number => (typeof value === "number" ? value : 0);
const intOrNull = (value: SqlStorageValue | undefined): number | null =>
  typeof value === "number" ? value : null;
const textOrNull = (value: SqlStorageValue | undefined): string | null =>
  typeof value === "string" ? value : null;

export function toPrediction(row: Row): PredictionRow {
  return {
    id: text(row["id"]),
    keyName: text(row["key_name"]),
    status: text(row["status"]) as PredictionStatus,
    model: text(row["model"]),
    version: text(row["version"]),
    inputJson: text(row["input"]),
    promptTokens: int(row["prompt_tokens"]),
    promptTruncated: int(row["prompt_truncated"]) === 1,
    images: int(row["images"]),
    totalSteps: int(row["total_steps"]),
    fileCapability: text(row["file_capability"]),
    streamCapability: text(row["stream_capability"]),
    jobSeq: intOrNull(row["job_seq"]),
    attempt: int(row["attempt"]),
    attemptStartedAt: intOrNull(row["attempt_started_at"]),
    resumedFrom: int(row["resumed_from"]),
    previewsSeen: int(row["previews_seen"]),
    step: int(row["step"]),
    numericsId: textOrNull(row["numerics_id"]),
    outputs: JSON.parse(text(row["outputs"])) as OutputFile[],
    errorCode: textOrNull(row["error_code"]) as ErrorCode | null,
    errorMessage: textOrNull(row["error_message"]),
    logs: text(row["logs"]),
    queue: null,
    predictSeconds: intOrNull(row["predict_seconds"]),
    createdAt: int(row["created_at"]),
    startedAt: intOrNull(row["started_at"]),
    completedAt: intOrNull(row["completed_at"]),
    queueDeadlineAt: int(row["queue_deadline_at"]),
    runTimeoutMs: int(row["run_timeout_ms"]),
    rank: int(row["rank"]),
    cancelAt: intOrNull(row["cancel_at"]),
    requestHash: textOrNull(row["request_hash"]),
    webhook: textOrNull(row["webhook"]),
    webhookEvents: JSON.parse(text(row["webhook_events"])) as WebhookEvent[],
    origin: text(row["origin"]),
    filesExpired: int(row["files_expired"]) === 1,
  };
}
