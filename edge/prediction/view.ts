// A prediction as clients see it: Replicate's resource, with a few fields of our own.

import type { PredictionRecord } from "./records.ts";
import type { PredictionStatus } from "./statuses.ts";
import { cancelUrl, eventsUrl, fileUrl, predictionUrl, streamUrl } from "./urls.ts";

const isoOrNull = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());

export interface PredictionView {
  readonly id: string;
  readonly model: string;
  readonly version: string;
  readonly status: PredictionStatus;
  readonly source: "api";
  /** With defaults filled in; given back as input, it makes the same images. */
  readonly input: unknown;
  /** URLs of the images; null until the first one is there, and once they have expired. */
  readonly output: readonly string[] | null;
  readonly error: string | null;
  readonly error_code: string | null;
  readonly logs: string;
  /** While it waits: 1 for the next one, and the estimated seconds to its start (null: not known). */
  readonly queue: { readonly position: number; readonly eta_seconds: number | null } | null;
  readonly metrics: {
    /** Tokens of all prompts with their begin and end marks, before any cut. */
    readonly prompt_tokens: number;
    /** True if a prompt was longer than the model reads, and lost its end. */
    readonly prompt_truncated: boolean;
    readonly image_count: number;
    readonly steps: number;
    readonly total_steps: number;
    readonly numerics_id?: string;
    /** Seconds. */
    readonly predict_time?: number;
    readonly total_time?: number;
  };
  readonly created_at: string | null;
  readonly started_at: string | null;
  readonly completed_at: string | null;
  readonly data_removed: boolean;
  readonly webhook?: string;
  readonly webhook_events_filter?: readonly string[];
  /** Once it has ended: when its images, and then the prediction itself, can no longer be fetched. */
  readonly output_expires_at: string | null;
  readonly expires_at: string | null;
  readonly urls: Readonly<Record<"get" | "cancel" | "events" | "stream", string>>;
}

export interface ViewOptions {
  /** Of links. */
  readonly origin: string;
  readonly retention: { readonly fileRetentionMs: number; readonly recordRetentionMs: number };
  /** What to say instead of the record's. */
  readonly status?: PredictionStatus;
}

export function viewPrediction(
  record: PredictionRecord,
  { origin, retention, status = record.status }: ViewOptions,
): PredictionView {
  const { id, createdAt, completedAt, queue } = record;
  const after = (ms: number): string | null => isoOrNull(completedAt === null ? null : completedAt + ms);
  const outputs = record.outputs.map(({ name }) => fileUrl(origin, record.fileCapability, name));
  return {
    id,
    model: record.model,
    version: record.version,
    status,
    source: "api",
    input: JSON.parse(record.inputJson),
    output: outputs.length === 0 || record.filesExpired ? null : outputs,
    error: record.errorMessage,
    error_code: record.errorCode,
    logs: record.logs,
    queue: queue === null ? null : { position: queue.position, eta_seconds: queue.etaSeconds },
    metrics: {
      prompt_tokens: record.promptTokens,
      prompt_truncated: record.promptTruncated,
      image_count: record.images,
      steps: record.step,
      total_steps: record.totalSteps,
      ...(record.numericsId === null ? {} : { numerics_id: record.numericsId }),
      ...(record.predictSeconds === null ? {} : { predict_time: record.predictSeconds }),
      ...(completedAt === null ? {} : { total_time: (completedAt - createdAt) / 1_000 }),
    },
    created_at: isoOrNull(createdAt),
    started_at: isoOrNull(record.startedAt),
    completed_at: isoOrNull(completedAt),
    data_removed: record.filesExpired,
    ...(record.webhook === null
      ? {}
      : { webhook: record.webhook, webhook_events_filter: record.webhookEvents }),
    output_expires_at: after(retention.fileRetentionMs),
    expires_at: after(retention.recordRetentionMs),
    urls: {
      get: predictionUrl(origin, id),
      cancel: cancelUrl(origin, id),
      events: eventsUrl(origin, id),
      stream: streamUrl(origin, id, record.streamCapability),
    },
  };
}
