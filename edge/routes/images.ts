// OpenAI's images endpoint: a prediction made and waited for within one request.

import { VqdError } from "@vqd/shared/errors.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import { encodeBase64 } from "../bytes.ts";
import { readJson } from "../body.ts";
import type { AppContext } from "../context.ts";
import { configOf } from "../env.ts";
import { fileKey } from "../hub/files.ts";
import type { PredictionRecord } from "../hub/records.ts";
import { hubOfPrediction } from "../hubs.ts";
import { defaultModelOf, listModels, resolveModel } from "../models.ts";
import { DEFAULTS, type GenerateImages, generateImagesSchema, type PredictionInput } from "../schemas.ts";
import { submitPrediction } from "../submit.ts";
import { fileUrl, originOf } from "../urls.ts";
import { invalidInput, validate } from "../validation.ts";
import { waitForEnd } from "../wait.ts";

const RETRY_SECONDS = 5;
/** Failures that the same request may well not meet again. */
const RETRYABLE = new Set(["no_worker", "queue_unavailable", "queue_full", "attempts_exhausted"]);

function checkSize(size: string | null | undefined, model: ModelManifest): string {
  const own = `${model.imageWidth}x${model.imageHeight}`;
  if (size !== undefined && size !== null && size !== "auto" && size !== own) {
    throw invalidInput([
      { path: "size", message: `must be "auto" or "${own}", the size that ${model.name} makes` },
    ]);
  }
  return own;
}

function toPredictionInput(body: GenerateImages): PredictionInput {
  return {
    prompt: body.prompt,
    seed: body.seed,
    guidance_scale: body.guidance_scale,
    num_inference_steps: body.num_inference_steps,
    truncation_rate: body.truncation_rate,
    scheduler: body.scheduler,
    prior_rule: body.prior_rule,
    prior_weight: body.prior_weight,
    negative_prompt: body.negative_prompt,
    num_outputs: body.n,
    output_format: body.output_format,
  };
}

/** The prediction when it has ended. If the client leaves before, it is canceled. */
async function finished(c: AppContext, id: string): Promise<PredictionRecord> {
  const keyName = c.get("keyName");
  const { signal } = c.req.raw;
  const cancel = (): void => c.executionCtx.waitUntil(hubOfPrediction(c.env, id).cancel(id, keyName));
  signal.addEventListener("abort", cancel);
  try {
    // Its deadlines end every prediction.
    return await waitForEnd(c.env, id, keyName, Infinity);
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

function failureOf(record: PredictionRecord): VqdError {
  const code = record.errorCode ?? (record.status === "canceled" ? "canceled" : "internal");
  const message = record.errorMessage ?? "the prediction was canceled";
  const retryable = RETRYABLE.has(code);
  return new VqdError(code, message, {
    retryable,
    ...(retryable ? { retryAfterSeconds: RETRY_SECONDS } : {}),
  });
}

async function readImage(c: AppContext, record: PredictionRecord, name: string): Promise<string> {
  const file = await c.env.FILES.get(fileKey(record.fileCapability, name));
  if (file === null) throw new VqdError("internal", "an image is gone from storage");
  return encodeBase64(new Uint8Array(await file.arrayBuffer()));
}

/** `POST /v1/images/generations` */
export async function generateImages(c: AppContext): Promise<Response> {
  const body = validate(generateImagesSchema, await readJson(c.req.raw));
  const keyName = c.get("keyName");
  const models = await listModels(c.env, keyName, c.get("log"));
  const model = resolveModel(models, body.model ?? undefined, defaultModelOf(c.env));
  if (model === undefined) {
    throw new VqdError("not_found", "the model does not exist; see GET /v1/models", {
      errors: [{ path: "model", message: "names no model that is served here" }],
    });
  }
  const size = checkSize(body.size, model);
  const input = toPredictionInput(body);
  const requestId = c.get("requestId");
  const { record: created } = await submitPrediction(c.env, { input, model, keyName, requestId, path: "" });
  const record = await finished(c, created.id);
  if (record.status !== "succeeded") throw failureOf(record);

  const origin = originOf(configOf(c.env), c.req.url);
  const data = await Promise.all(
    record.outputs.map(async ({ name }) =>
      body.response_format === "url"
        ? { url: fileUrl(origin, record.fileCapability, name) }
        : { b64_json: await readImage(c, record, name) },
    ),
  );
  const imageTokens = model.latentHeight * model.latentWidth * record.images;
  c.header("cache-control", "no-store");
  return c.json({
    created: Math.floor(record.createdAt / 1_000),
    data,
    output_format: body.output_format ?? DEFAULTS.outputFormat,
    size,
    usage: {
      input_tokens: record.promptTokens,
      output_tokens: imageTokens,
      total_tokens: record.promptTokens + imageTokens,
      input_tokens_details: { text_tokens: record.promptTokens, image_tokens: 0 },
    },
    // Beyond OpenAI's fields: whether the model saw all of the prompt, and what makes these images again.
    prompt_truncated: record.promptTruncated,
    prediction_id: record.id,
    seed: (JSON.parse(record.inputJson) as { seed: number }).seed,
  });
}
