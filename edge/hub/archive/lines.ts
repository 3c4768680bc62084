// Records as lines of an archive: newline-delimited JSON, compressed by gzip. Archives outlive releases, so that a later one adds
// fields, or gives `v` another number.

import { VqdError, type ErrorCode } from "@vqd/shared/errors.ts";
import { z } from "zod";
import type { PredictionRecord } from "../../prediction/records.ts";
import { PREDICTION_STATUSES } from "../../prediction/statuses.ts";
import { WEBHOOK_EVENTS } from "../../prediction/webhook-events.ts";
import { inTime } from "../storage/files.ts";
import type { PredictionRow } from "../storage/prediction-row.ts";

/** Times are Unix times in ms. Neither images nor the segments of unguessable URLs are archived: what these led to is gone. */
const lineSchema = z.object({
  v: z.literal(1),
  id: z.string(),
  own_id: z.string().nullable(),
  key_id: z.string(),
  status: z.enum(PREDICTION_STATUSES),
  model: z.string(),
  version: z.string(),
  input: z.unknown(),
  prompt_tokens: z.number(),
  prompt_truncated: z.boolean(),
  images: z.number(),
  step: z.number(),
  total_steps: z.number(),
  attempt: z.number(),
  numerics_id: z.string().nullable(),
  error_code: z.string().nullable(),
  error: z.string().nullable(),
  logs: z.string(),
  predict_seconds: z.number().nullable(),
  created_at: z.number(),
  started_at: z.number().nullable(),
  completed_at: z.number(),
  webhook: z.string().nullable(),
  webhook_events: z.array(z.enum(WEBHOOK_EVENTS)),
});
type Line = z.infer<typeof lineSchema>;

/** What a line says, and of which of its owner's keys it was made. */
export interface ArchivedRecord {
  readonly record: PredictionRecord;
  readonly keyId: string;
}

/** What lists and deletions need to know of a line, of whatever release. */
export interface LinePlace {
  readonly id: string;
  readonly createdAt: number;
  readonly completedAt: number;
  readonly ownId: string | null;
}

/** A line of an object, and its place. */
export interface ArchivedLine {
  readonly text: string;
  readonly place: LinePlace;
}

const placed = (text: string, { id, created_at, completed_at, own_id }: Line): ArchivedLine => ({
  text,
  place: { id, createdAt: created_at, completedAt: completed_at, ownId: own_id },
});

/** The line of a prediction that has ended. */
export function lineOf(row: PredictionRow): ArchivedLine {
  const line: Line = {
    v: 1,
    id: row.id,
    own_id: row.ownId,
    key_id: row.keyId,
    status: row.status,
    model: row.model,
    version: row.version,
    input: JSON.parse(row.inputJson) as unknown,
    prompt_tokens: row.promptTokens,
    prompt_truncated: row.promptTruncated,
    images: row.images,
    step: row.step,
    total_steps: row.totalSteps,
    attempt: row.attempt,
    numerics_id: row.numericsId,
    error_code: row.errorCode,
    error: row.errorMessage,
    logs: row.logs,
    predict_seconds: row.predictSeconds,
    created_at: row.createdAt,
    started_at: row.startedAt,
    completed_at: row.completedAt ?? row.createdAt,
    webhook: row.webhook,
    webhook_events: [...row.webhookEvents],
  };
  return placed(JSON.stringify(line), line);
}

/** Throws a VqdError (internal) for a line that this release cannot read. */
export function recordOf({ text }: ArchivedLine): ArchivedRecord {
  const parsed = lineSchema.safeParse(JSON.parse(text));
  if (!parsed.success) throw new VqdError("internal", "the prediction was archived by another release");
  const { data } = parsed;
  const record: PredictionRecord = {
    id: data.id,
    ownId: data.own_id,
    status: data.status,
    model: data.model,
    version: data.version,
    inputJson: JSON.stringify(data.input),
    promptTokens: data.prompt_tokens,
    promptTruncated: data.prompt_truncated,
    images: data.images,
    totalSteps: data.total_steps,
    fileCapability: "",
    streamCapability: "",
    shareCapability: null,
    step: data.step,
    attempt: data.attempt,
    numericsId: data.numerics_id,
    outputs: [],
    errorCode: data.error_code as ErrorCode | null,
    errorMessage: data.error,
    logs: data.logs,
    queue: null,
    predictSeconds: data.predict_seconds,
    createdAt: data.created_at,
    startedAt: data.started_at,
    completedAt: data.completed_at,
    filesExpired: true,
    webhook: data.webhook,
    webhookEvents: data.webhook_events,
  };
  return { record, keyId: data.key_id };
}

/** An archive's object. */
export async function pack(lines: readonly ArchivedLine[]): Promise<Uint8Array> {
  const whole = new Blob(lines.map(({ text }) => `${text}\n`));
  return new Response(whole.stream().pipeThrough(new CompressionStream("gzip"))).bytes();
}

/** The lines of an archive's object; undefined if it does not exist, or is damaged. Rejects while object storage does not answer. */
export async function readLines(
  bucket: Pick<R2Bucket, "get">,
  name: string,
): Promise<ArchivedLine[] | undefined> {
  // Whole: a connection that is lost is no damage.
  const whole = await inTime(bucket.get(name).then((object) => object?.arrayBuffer()));
  if (whole === undefined) return undefined;
  const bytes = new Blob([whole]);
  let lines: string[];
  try {
    const all = await new Response(bytes.stream().pipeThrough(new DecompressionStream("gzip"))).text();
    lines = all.split("\n").filter((line) => line !== "");
  } catch {
    return undefined;
  }
  return lines.map((text) => placed(text, JSON.parse(text) as Line));
}
