// A prediction as clients see it: Replicate's resource with a few additional fields.

import { INPUT_FIELDS, inputView } from "./input-links.ts";
import type { PredictionRecord } from "./records.ts";
import type { PredictionStatus } from "./statuses.ts";
import { cancelUrl, eventsUrl, fileUrl, predictionUrl, sharedUrl, streamUrl } from "./urls.ts";

const isoOrNull = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());

export interface PredictionView {
  readonly id: string;
  readonly model: string;
  readonly version: string;
  readonly status: PredictionStatus;
  readonly source: "api";
  /** With defaults filled in; sent again as input, it makes the same images. */
  readonly input: unknown;
  /** URLs of the images; null until the first is available, and again once they have expired. */
  readonly output: readonly string[] | null;
  readonly error: string | null;
  readonly error_code: string | null;
  readonly logs: string;
  /** While it waits: its position (1 is next) and the estimated seconds until its start (null if unknown). */
  readonly queue: { readonly position: number; readonly eta_seconds: number | null } | null;
  readonly metrics: {
    /** Tokens of all prompts including start and end tokens, before truncation. */
    readonly prompt_tokens: number;
    /** True if a prompt exceeded the model's length and was truncated. */
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
  /** Once it has ended: when its images, and later the prediction itself, will be deleted. */
  readonly output_expires_at: string | null;
  readonly expires_at: string | null;
  readonly urls: Readonly<Record<"get" | "cancel" | "events" | "stream", string>> & {
    readonly shared?: string;
  };
}

export interface ViewOptions {
  /** Origin of links. */
  readonly origin: string;
  readonly retention: {
    readonly fileRetentionMs: number;
    readonly recordRetentionMs: number;
    readonly archiveRetentionMs: number | undefined;
  };
  /** Overrides the record's. */
  readonly status?: PredictionStatus;
}

/** The view for a key that may not read: no input, no results, and no URL that works without a key. */
export function withoutContent(view: PredictionView): PredictionView {
  const { webhook: _, webhook_events_filter: __, ...rest } = view;
  const { shared: ___, ...known } = view.urls;
  const urls = { ...known, stream: known.events };
  return { ...rest, input: {}, output: null, logs: "", error: null, urls };
}

export function viewPrediction(
  record: PredictionRecord,
  { origin, retention, status = record.status }: ViewOptions,
): PredictionView {
  const { createdAt, completedAt, queue } = record;
  const id = record.ownId ?? record.id;
  const after = (ms: number): string | null => isoOrNull(completedAt === null ? null : completedAt + ms);
  const outputs = record.outputs.map(({ name }) => fileUrl(origin, record.fileCapability, name));
  return {
    id,
    model: record.model,
    version: record.version,
    status,
    source: "api",
    input: inputView(record.inputJson, origin),
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
      ...(record.predictSeconds === null || completedAt === null
        ? {}
        : { predict_time: record.predictSeconds }),
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
    expires_at: after(retention.archiveRetentionMs ?? retention.recordRetentionMs),
    urls: {
      get: predictionUrl(origin, id),
      cancel: cancelUrl(origin, id),
      events: eventsUrl(origin, id),
      // An archived one has no stream any more.
      stream:
        record.streamCapability === ""
          ? eventsUrl(origin, id)
          : streamUrl(origin, record.id, record.streamCapability),
      ...(record.shareCapability === null
        ? {}
        : { shared: sharedUrl(origin, record.id, record.shareCapability) }),
    },
  };
}

/** What others see of it: no links but those to its images, which end with the sharing, and nothing of what it started from. */
export function viewShared(record: PredictionRecord, capability: string, options: ViewOptions) {
  const { model, version, status, output, error, metrics, ...view } = viewPrediction(record, options);
  const { created_at, started_at, completed_at, data_removed, output_expires_at } = view;
  const input = view.input as Record<string, unknown>;
  const hidden: ReadonlySet<string> = new Set([...INPUT_FIELDS, "from"]);
  const base = sharedUrl(options.origin, record.id, capability);
  return {
    id: record.id,
    model,
    version,
    status,
    input: Object.fromEntries(Object.entries(input).filter(([field]) => !hidden.has(field))),
    output: output === null ? null : record.outputs.map(({ name }) => `${base}/${name}`),
    error,
    metrics,
    created_at,
    started_at,
    completed_at,
    data_removed,
    output_expires_at,
  };
}
