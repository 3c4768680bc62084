// From validated input to a dispatched prediction: token ids and the job.

import type { KnownKey } from "@vqd/shared/api-key.ts";
import { encodeJob } from "@vqd/shared/codec.ts";
import { newCapability } from "@vqd/shared/ids.ts";
import type { Job } from "@vqd/shared/job.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import type { AnnouncedModel } from "../tokenizer/announced.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { PRIORITIES, type Priority } from "@vqd/shared/subjects.ts";
import type { Config } from "../config.ts";
import { completeInput, type FieldPath, refuser } from "./complete-input.ts";
import type { Beginning } from "./inputs/beginning.ts";
import { type Fork, forkedInput } from "./inputs/fork.ts";
import { linksOf, startOfFork, startOfInput } from "./inputs/start.ts";
import type { Hubs } from "./hubs.ts";
import type { Idempotency, PredictionRecord, Retry, Webhook } from "../prediction/records.ts";
import { unwrap } from "../prediction/hub-result.ts";
import type { RateState } from "../prediction/rate-state.ts";
import { isOwnSize, type OutputSize } from "./output-size.ts";
import { BEST_QUALITY, type PredictionInput } from "./schemas.ts";
import { encodePrompts } from "./prompts.ts";
import { tokenizerOf } from "../tokenizer/cache.ts";

export interface Submission {
  /** The prediction's, if it is a new one. */
  readonly id: string;
  readonly input: PredictionInput;
  /** The files that the input names. */
  readonly beginning?: Beginning;
  /** The state that the input continues. */
  readonly fork?: Fork | undefined;
  readonly model: AnnouncedModel;
  readonly apiKey: KnownKey;
  readonly requestId: string;
  readonly traceparent: string | undefined;
  readonly cancelAfterMs?: number | null;
  readonly idempotency?: Idempotency | null;
  readonly retry?: Retry | undefined;
  /** Normal by default, or the key's highest if that is lower. */
  readonly priority?: Priority | null | undefined;
  /** Names the input's fields in errors. */
  readonly pathOf: FieldPath;
  /** Origin of links to the prediction. */
  readonly origin: string;
  readonly webhook?: Webhook | null;
}

/** The requested priority, if the key allows it. Throws a VqdError (forbidden). */
function priorityOf({ priority, apiKey }: Submission): Priority {
  const isUrgent = (one: Priority, than: Priority): boolean =>
    PRIORITIES.indexOf(one) < PRIORITIES.indexOf(than);
  const most = apiKey.priority;
  if (!priority) return isUrgent("normal", most) ? most : "normal";
  if (!isUrgent(priority, most)) return priority;
  const message = `must be ${most} or lower, the highest that the key allows`;
  throw new VqdError("forbidden", `priority ${message}`, { errors: [{ path: "priority", message }] });
}

/** The job's size of the files, unless it is the model's own. */
function outputSize(size: OutputSize, model: ModelManifest): Pick<Job, "outputSize"> {
  const { width, height } = size;
  if (width === null || height === null || isOwnSize(size, model)) return {};
  return { outputSize: { width, height } };
}

export interface Submitted {
  readonly record: PredictionRecord;
  /** State of the key's limit; null if an earlier request with the same idempotency key created the prediction. */
  readonly rate: RateState | null;
}

/**
 * Dispatches a prediction. Throws a VqdError: invalid_input, forbidden, rate_limited, too_many_live, quota_exceeded, queue_full,
 * queue_unavailable, idempotency_key_reused.
 */
export async function submitPrediction(
  hubs: Hubs,
  config: Config,
  submission: Submission,
): Promise<Submitted> {
  const { model, apiKey, requestId, pathOf, fork, beginning = {} } = submission;
  const { name: keyName } = apiKey;
  const priority = priorityOf(submission);
  const asked = fork === undefined ? submission.input : forkedInput(submission.input, fork, refuser(pathOf));
  const startImages = fork?.images ?? beginning.tokens?.images ?? 1;
  const completed = completeInput(asked, model, {
    pathOf,
    mayEmbed: config.embedSettings,
    startImages,
    starts: fork !== undefined || beginning.image !== undefined || beginning.tokens !== undefined,
  });
  const { settings: input } = completed;
  const start =
    fork === undefined
      ? startOfInput(asked, beginning)
      : startOfFork(fork, { ...asked, ...input }, beginning.mask);
  const inputCapability = newCapability();
  const shard = hubs.home;
  const load = () => tokenizerOf(model, (id) => hubs.ofShard(shard).tokenizer(id));
  const byLabel = typeof asked.class_label === "number";
  const encoded = await encodePrompts(input, model, load, (field) =>
    pathOf(byLabel && field === "prompt" ? "class_label" : field),
  );

  const createdAt = Date.now();
  const job: Job = {
    v: 1,
    id: submission.id,
    shard,
    model: model.name,
    version: model.version,
    createdAt,
    deadlineAt: createdAt + config.queueTimeoutMs + config.runTimeoutMs,
    prompts: encoded.prompts,
    negativePrompt: encoded.negative,
    numInferenceSteps: input.num_inference_steps,
    guidanceScale: input.guidance_scale,
    truncationRate: input.truncation_rate,
    numImagesPerPrompt: input.num_outputs,
    ...("seeds" in input
      ? { seed: input.seeds[0] ?? outOfBounds(), seeds: input.seeds }
      : { seed: input.seed }),
    scheduler: input.scheduler,
    // What changes nothing is left out, for workers of a release that does not know it.
    ...("infer_speed" in input ? { inferSpeed: input.infer_speed } : {}),
    ...(input.order === "posterior" ? {} : { order: input.order }),
    ...(input.remasking === 0 ? {} : { remasking: input.remasking }),
    ...(input.temperature === 1 ? {} : { temperature: input.temperature }),
    priorRule: input.prior_rule,
    priorWeight: input.prior_weight,
    ...outputSize(input, model),
    outputFormat: input.output_format,
    outputQuality: input.output_quality ?? BEST_QUALITY,
    previews: input.num_previews,
    ...(start === undefined ? {} : { source: start.source }),
  };
  const result = await hubs.ofShard(shard).create({
    keyName,
    keyId: apiKey.id,
    inputJson: JSON.stringify({
      ...completed.input,
      ...start?.fields,
      ...(start === undefined ? {} : linksOf(start, inputCapability)),
      ...(fork === undefined ? {} : { from: asked.from }),
    }),
    inputCapability,
    inputFiles: start?.files ?? [],
    promptTokens: encoded.tokens,
    promptTruncated: encoded.truncated,
    fileCapability: newCapability(),
    streamCapability: newCapability(),
    queueTimeoutMs: config.queueTimeoutMs,
    runTimeoutMs: config.runTimeoutMs,
    cancelAfterMs: submission.cancelAfterMs ?? null,
    idempotency: submission.idempotency ?? null,
    retry: submission.retry,
    webhook: submission.webhook ?? null,
    limits: {
      perMinute: apiKey.perMinute ?? config.rateLimits.perMinute,
      live: apiKey.live ?? config.rateLimits.live,
    },
    quotas: apiKey.quotas ?? {},
    origin: submission.origin,
    job: encodeJob(job, start?.attachment),
    priority,
    maxWaitMs: config.maxWaitMs,
    requestId,
    traceparent: submission.traceparent,
  });
  const { record, rate } = unwrap(result);
  return { record, rate };
}
