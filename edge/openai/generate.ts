// OpenAI's images endpoint: a prediction created and followed to its end within one request.

import { VqdError } from "@vqd/shared/errors.ts";
import { readJson } from "../http/body/body.ts";
import { inTurn } from "../fairness/fair-share.ts";
import { choiceKeyOf, submissionOf } from "../http/submission.ts";
import type { AppContext } from "../http/context.ts";
import type { PredictionRecord } from "../prediction/records.ts";
import type { JsonSeed } from "@vqd/shared/sampling/seed.ts";
import { idempotencyOf, retryOf } from "../http/idempotency.ts";
import { beginningOf, identityOf } from "../http/inputs.ts";
import { refuser } from "../service/complete-input.ts";
import type { AttachedFiles } from "../service/inputs/beginning.ts";
import type { PredictionInput } from "../service/schemas.ts";
import type { AnnouncedModel } from "../tokenizer/announced.ts";
import { listModels, resolveModel, retirementOf } from "../service/models.ts";
import { commonFields, type ImageJob, imageContent, usage } from "./answer.ts";
import { openaiField, toPredictionInput } from "./request.ts";
import { generateImagesSchema, ignoredOf, type ImageRequest, wantsUrls } from "./schema.ts";
import { imageStream } from "./stream.ts";
import { checkImages, failureOf } from "../service/outcome.ts";
import { setIgnored } from "../http/ignored.ts";
import { setRateHeaders } from "../http/rate-headers.ts";
import { submitPrediction } from "../service/submit.ts";
import { originOf } from "../http/urls.ts";
import { validate } from "../http/body/validation.ts";
import { departure, endOf, whenLeft } from "../http/departure.ts";

/** The model that a request names, or the default. Throws a VqdError: not_found, or no_worker. */
export async function modelOf(c: AppContext, name: string | null | undefined): Promise<AnnouncedModel> {
  const models = await listModels(c.get("hubs"));
  const config = c.get("config");
  const model = resolveModel(models, name ?? undefined, config, { key: choiceKeyOf(c) });
  if (model !== undefined) return model;
  const retired = retirementOf(models, name ?? undefined, config);
  throw new VqdError(
    "not_found",
    `the model ${name ?? config.defaultModel} ${retired ?? "does not exist; see GET /v1/models"}`,
    { errors: [{ path: "model", message: retired ?? "is not the name of an available model" }] },
  );
}

/** `POST /v1/images/generations` */
export async function generateImages(c: AppContext): Promise<Response> {
  const body = validate(generateImagesSchema, await readJson(c.req.raw));
  const model = await modelOf(c, body.model);
  return respond(c, { body, model, input: toPredictionInput(body, model) });
}

export interface ImagePrediction {
  readonly body: ImageRequest;
  readonly model: AnnouncedModel;
  readonly input: PredictionInput;
  /** The files that it starts from, if it does. */
  readonly attached?: AttachedFiles;
}

/** Makes the images, and answers with them. */
export async function respond(
  c: AppContext,
  { body, model, input, attached }: ImagePrediction,
): Promise<Response> {
  const [config, hubs] = [c.get("config"), c.get("hubs")];
  const beginning =
    attached === undefined ? {} : await beginningOf(c, input, model, refuser(openaiField), attached);
  setIgnored(c, ignoredOf(body));
  const identity = identityOf(body, beginning);
  const idempotency = await idempotencyOf(c, identity);
  const retry = idempotency === null ? await retryOf(c, identity) : undefined;
  const origin = originOf(config, c.req.url);
  const { record, rate } = await submitPrediction(hubs, config, {
    input,
    beginning,
    model,
    ...submissionOf(c),
    idempotency,
    retry,
    priority: body.priority,
    pathOf: openaiField,
  });
  if (rate !== null) setRateHeaders(c, rate);
  checkImages(record);
  const job: ImageJob = {
    body,
    model,
    isEdit: attached !== undefined,
    origin,
    files: c.env.FILES,
    hasKey: idempotency !== null,
  };
  // A client that has got the beginning of a stream does not try again.
  const mayRetry = retry !== undefined && body.stream !== true;
  // With an idempotency key the caller can come back for the images, so they are completed.
  const onDisconnect = idempotency === null ? departure(c, record.id, mayRetry) : (): void => {};
  return body.stream ? streamed(c, job, record, onDisconnect) : answered(c, job, record, onDisconnect);
}

function streamed(
  c: AppContext,
  job: ImageJob,
  record: PredictionRecord,
  onDisconnect: () => void,
): Response {
  whenLeft(c, onDisconnect);
  const stream = imageStream({
    hubs: c.get("hubs"),
    job,
    record,
    keyName: c.get("keyName"),
    log: c.get("log"),
    inTurn: (work) => inTurn(c, work),
    onDisconnect,
  });
  return c.body(stream, 200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
  });
}

/** The seed or the seeds of the images. */
function seedsOf({ inputJson }: PredictionRecord): { seed?: JsonSeed; seeds?: JsonSeed[] } {
  const { seed, seeds } = JSON.parse(inputJson) as { seed?: JsonSeed; seeds?: JsonSeed[] };
  return seeds === undefined ? { seed: seed ?? 0 } : { seeds };
}

async function answered(
  c: AppContext,
  job: ImageJob,
  created: PredictionRecord,
  onDisconnect: () => void,
): Promise<Response> {
  const record = await endOf(c, created.id, onDisconnect);
  if (record.status !== "succeeded") throw failureOf(record, job.hasKey);

  const data = await Promise.all(
    record.outputs.map(({ name }) => imageContent(job, record.fileCapability, name)),
  );
  const expiresAt = (record.completedAt ?? record.createdAt) + c.get("config").fileRetentionMs;
  c.header("cache-control", "no-store");
  return c.json({
    created: Math.floor(record.createdAt / 1_000),
    data,
    ...commonFields(job),
    usage: usage(job, record.images, { textTokens: record.promptTokens }),
    // In addition to OpenAI's fields: whether the prompt was truncated, what reproduces the images, and when their
    // URLs expire.
    prompt_truncated: record.promptTruncated,
    prediction_id: record.id,
    ...seedsOf(record),
    ...(wantsUrls(job.body) ? { expires_at: Math.floor(expiresAt / 1_000) } : {}),
  });
}
