// From validated input to a dispatched prediction: defaults, limits of the model, token ids and the job.

import type { ApiKey } from "@vqd/shared/api-key.ts";
import { encodeJob } from "@vqd/shared/codec.ts";
import { newCapability, newPredictionId } from "@vqd/shared/ids.ts";
import { imageCount, type Job } from "@vqd/shared/job.ts";
import { MAX_IMAGES } from "@vqd/shared/limits.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { PRESETS } from "@vqd/shared/sampling/presets.ts";
import { completeSampler, samplerConflict, type SamplerSettings } from "@vqd/shared/sampling/sampler.ts";
import { PRIORITIES, type Priority } from "@vqd/shared/subjects.ts";
import type { Config } from "../config.ts";
import type { Hubs } from "./hubs.ts";
import type { Idempotency, PredictionRecord, Webhook } from "../prediction/records.ts";
import { unwrap } from "../prediction/hub-result.ts";
import type { RateState } from "../prediction/rate-state.ts";
import { DEFAULTS, type PredictionInput } from "./schemas.ts";
import { tokenizerFor } from "./tokenizer.ts";
import { invalidInput } from "../http/validation.ts";

export interface Submission {
  readonly input: PredictionInput;
  readonly model: ModelManifest;
  readonly apiKey: ApiKey;
  readonly requestId: string;
  readonly traceparent: string | undefined;
  readonly cancelAfterMs?: number | null;
  readonly idempotency?: Idempotency | null;
  /** Normal by default, or the key's highest if that is lower. */
  readonly priority?: Priority | null | undefined;
  /** Prefix of the input's fields in errors: "input." or "". */
  readonly path: string;
  /** Origin of links to the prediction. */
  readonly origin: string;
  readonly webhook?: Webhook | null;
}

const SAMPLER_FIELDS = {
  scheduler: "scheduler",
  order: "order",
  remasking: "remasking",
  temperature: "temperature",
  priorRule: "prior_rule",
  priorWeight: "prior_weight",
} as const satisfies Record<keyof SamplerSettings, keyof PredictionInput>;

function readSampler(input: PredictionInput, preset: SamplerSettings, path: string): SamplerSettings {
  const { prior_rule: priorRule, prior_weight: priorWeight, ...same } = input;
  const sampler = completeSampler({ ...same, priorRule, priorWeight }, preset);
  const conflict = samplerConflict(sampler, (field) => SAMPLER_FIELDS[field]);
  if (conflict === undefined) return sampler;
  throw invalidInput([{ path: `${path}${SAMPLER_FIELDS[conflict.field]}`, message: conflict.reason }]);
}

/** The caller's input with defaults filled in. It is returned to the caller, and reproduces the images. */
function withDefaults(input: PredictionInput, model: ModelManifest, path: string) {
  const preset = PRESETS[input.preset ?? DEFAULTS.preset];
  const steps = input.num_inference_steps ?? Math.min(preset.numInferenceSteps, model.numTrainTimesteps);
  if (steps > model.numTrainTimesteps) {
    const message = `must be at most ${model.numTrainTimesteps}, the number of steps ${model.name} was trained with`;
    throw invalidInput([{ path: `${path}num_inference_steps`, message }]);
  }
  const { num_outputs: outputs, num_images_per_prompt: perPrompt } = input;
  if (typeof outputs === "number" && typeof perPrompt === "number" && outputs !== perPrompt) {
    throw invalidInput([{ path: `${path}num_images_per_prompt`, message: "contradicts num_outputs" }]);
  }
  const sampler = readSampler(input, preset, path);
  return {
    prompt: input.prompt,
    negative_prompt: input.negative_prompt ?? null,
    num_inference_steps: steps,
    guidance_scale: input.guidance_scale ?? model.defaults?.guidanceScale ?? DEFAULTS.guidanceScale,
    truncation_rate: input.truncation_rate ?? DEFAULTS.truncationRate,
    num_outputs: outputs ?? perPrompt ?? DEFAULTS.numOutputs,
    seed: input.seed ?? crypto.getRandomValues(new Uint32Array(1))[0] ?? 0,
    scheduler: sampler.scheduler,
    order: sampler.order,
    remasking: sampler.remasking,
    temperature: sampler.temperature,
    prior_rule: sampler.priorRule,
    prior_weight: sampler.priorWeight,
    output_format: input.output_format ?? DEFAULTS.outputFormat,
    output_quality: input.output_quality ?? DEFAULTS.outputQuality,
    num_previews: input.num_previews ?? DEFAULTS.previews,
  };
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

export interface Submitted {
  readonly record: PredictionRecord;
  /** State of the key's limit; null if an earlier request with the same idempotency key created the prediction. */
  readonly rate: RateState | null;
}

/**
 * Dispatches a prediction. Throws a VqdError: invalid_input, forbidden, rate_limited, too_many_live, queue_full,
 * queue_unavailable, idempotency_key_reused.
 */
export async function submitPrediction(
  hubs: Hubs,
  config: Config,
  submission: Submission,
): Promise<Submitted> {
  const { model, apiKey, requestId, path } = submission;
  const { name: keyName } = apiKey;
  const priority = priorityOf(submission);
  const input = withDefaults(submission.input, model, path);
  const padding = model.tokenizer;
  const tokenizer = tokenizerFor(padding.padTokenId);
  const prompts = [input.prompt].flat().map((prompt) => tokenizer.encodePadded(prompt, padding));
  // An empty negative prompt means none: the model then uses its own unconditional embedding.
  const negative = input.negative_prompt?.trim()
    ? tokenizer.encodePadded(input.negative_prompt, padding)
    : null;

  const shard = hubs.shardOfKey(keyName);
  const createdAt = Date.now();
  const job: Job = {
    v: 1,
    id: newPredictionId(shard),
    shard,
    model: model.name,
    version: model.version,
    createdAt,
    deadlineAt: createdAt + config.queueTimeoutMs + config.runTimeoutMs,
    prompts: prompts.map(({ ids }) => ids),
    negativePrompt: negative?.ids ?? null,
    numInferenceSteps: input.num_inference_steps,
    guidanceScale: input.guidance_scale,
    truncationRate: input.truncation_rate,
    numImagesPerPrompt: input.num_outputs,
    seed: input.seed,
    scheduler: input.scheduler,
    // What changes nothing is left out, for workers of a release that does not know it.
    ...(input.order === "posterior" ? {} : { order: input.order }),
    ...(input.remasking === 0 ? {} : { remasking: input.remasking }),
    ...(input.temperature === 1 ? {} : { temperature: input.temperature }),
    priorRule: input.prior_rule,
    priorWeight: input.prior_weight,
    outputFormat: input.output_format,
    outputQuality: input.output_quality,
    previews: input.num_previews,
  };
  if (imageCount(job) > MAX_IMAGES) {
    const message = `asks for ${imageCount(job)} images in total; a prediction makes at most ${MAX_IMAGES}`;
    throw invalidInput([{ path: `${path}num_outputs`, message }]);
  }
  const result = await hubs.ofShard(shard).create({
    keyName,
    inputJson: JSON.stringify(input),
    promptTokens: prompts.reduce((sum, { tokenCount }) => sum + tokenCount, 0),
    promptTruncated: [...prompts, ...(negative === null ? [] : [negative])].some(
      ({ truncated }) => truncated,
    ),
    fileCapability: newCapability(),
    streamCapability: newCapability(),
    queueTimeoutMs: config.queueTimeoutMs,
    runTimeoutMs: config.runTimeoutMs,
    cancelAfterMs: submission.cancelAfterMs ?? null,
    idempotency: submission.idempotency ?? null,
    webhook: submission.webhook ?? null,
    limits: {
      perMinute: apiKey.perMinute ?? config.rateLimits.perMinute,
      live: apiKey.live ?? config.rateLimits.live,
    },
    origin: submission.origin,
    job: encodeJob(job),
    priority,
    maxWaitMs: config.maxWaitMs,
    requestId,
    traceparent: submission.traceparent,
  });
  const { record, rate } = unwrap(result);
  return { record, rate };
}
