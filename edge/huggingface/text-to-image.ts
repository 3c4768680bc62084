// Hugging Face's tasks text-to-image and image-to-image: a prediction of one image, followed to its end within one request.

import { z } from "zod";
import { VqdError } from "@vqd/shared/errors.ts";
import type { ImageFormat } from "@vqd/shared/job.ts";
import { MAX_PROMPT_CHARS } from "@vqd/shared/limits.ts";
import { fileKey } from "../hub/storage/files.ts";
import { readJsonWithFiles } from "../http/body/body.ts";
import { choiceKeyOf, submissionOf } from "../http/submission.ts";
import type { AppContext } from "../http/context.ts";
import { departure, endOf } from "../http/departure.ts";
import { idempotencyOf } from "../http/idempotency.ts";
import { setIgnored } from "../http/ignored.ts";
import { setRateHeaders } from "../http/rate-headers.ts";
import { invalidInput, validate } from "../http/body/validation.ts";
import { beginningOf } from "../http/inputs.ts";
import type { Beginning } from "../service/inputs/beginning.ts";
import { type FieldPath, refuser } from "../service/complete-input.ts";
import { listModels, resolveModel, retirementOf } from "../service/models.ts";
import { checkImages, failureOf } from "../service/outcome.ts";
import type { PredictionInput } from "../service/schemas.ts";
import { submitPrediction } from "../service/submit.ts";
import type { AnnouncedModel } from "../tokenizer/announced.ts";
import { type TextToImage, textToImageSchema } from "./schema.ts";

/** How long a request that waits for a model does so. */
const MODEL_WAIT_MS = 60_000;
/** One that does not: Hugging Face's client sends a request that is answered with 503 again at once. */
const SHORT_WAIT_MS = 1_000;
const POLL_MS = 500;

const FORMATS: Readonly<Record<string, ImageFormat>> = {
  "image/png": "png",
  "image/webp": "webp",
  "image/jpeg": "jpeg",
};

/** The first image format that the Accept header names; png if it names none. */
function formatOf(c: AppContext): ImageFormat {
  const types = (c.req.header("accept") ?? "").split(",").map((range) => range.split(";")[0]?.trim() ?? "");
  return FORMATS[types.find((type) => Object.hasOwn(FORMATS, type)) ?? ""] ?? "png";
}

/** The model in the path, or the default. Throws a VqdError: not_found, or no_worker if none is announced in time. */
async function modelOf(c: AppContext, waits: boolean): Promise<AnnouncedModel> {
  const owner = c.req.param("owner");
  const reference = owner === undefined ? undefined : `${owner}/${c.req.param("name") ?? ""}`;
  const until = Date.now() + (waits ? MODEL_WAIT_MS : SHORT_WAIT_MS);
  for (;;) {
    const models = await listModels(c.get("hubs"));
    if (models.versions.length > 0 || Date.now() >= until || c.req.raw.signal.aborted) {
      const model = resolveModel(models, reference, c.get("config"), { key: choiceKeyOf(c) });
      if (model !== undefined) return model;
      const retired = retirementOf(models, reference, c.get("config"));
      const what = retired ?? "does not exist; see GET /v1/models";
      throw new VqdError("not_found", `the model ${reference ?? c.get("config").defaultModel} ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Path of a field of the input in the body. */
const pathsOf =
  (isEdit: boolean): FieldPath =>
  (field) =>
    field === (isEdit ? "image" : "prompt") ? "inputs" : `parameters.${field}`;

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;

const textSchema = z.object({ inputs: z.string().max(MAX_PROMPT_CHARS) });

/** The input of either task. Throws a VqdError (invalid_input). */
function toPredictionInput(
  body: TextToImage,
  { conditioning }: AnnouncedModel,
  format: ImageFormat,
): PredictionInput {
  const { prompt, target_size: size, strength, ...rest } = body.parameters ?? {};
  const { inputs } = body;
  const given = Object.entries({ strength, target_size: size }).find(([, value]) => isGiven(value));
  // Without a prompt there is only one kind of inputs that a model without prompts could take.
  if (isGiven(prompt) || (given !== undefined && conditioning === "none")) {
    const image = /^(?:data|https?):/i.test(inputs) ? inputs : `data:;base64,${inputs}`;
    return { prompt, image, strength, ...rest, ...size, output_format: format };
  }
  if (given !== undefined) {
    throw invalidInput([
      { path: `parameters.${given[0]}`, message: "requires parameters.prompt, with an image as inputs" },
    ]);
  }
  validate(textSchema, body);
  return { prompt: inputs, ...rest, output_format: format };
}

/** The image in a body of image to image, as far as it can be told without the model. */
const imagesOf = (body: unknown): string[] => {
  const { inputs, parameters } = (body ?? {}) as {
    inputs?: unknown;
    parameters?: Partial<Record<"prompt" | "strength" | "target_size", unknown>> | null;
  };
  const { prompt, strength, target_size: size } = parameters ?? {};
  return typeof inputs === "string" && [prompt, strength, size].some(isGiven) ? [inputs] : [];
};

/** The parsed body. Throws a VqdError as readJsonWithFiles does. */
async function readBody({ req }: AppContext): Promise<unknown> {
  try {
    return await readJsonWithFiles(req.raw, imagesOf);
  } catch (error) {
    if (!(error instanceof VqdError) || error.code !== "unsupported_media_type") throw error;
    // Without parameters, clients send the image as it is.
    throw new VqdError(error.code, `${error.message}; image to image needs parameters.prompt`);
  }
}

/** A prediction that no worker has started in time is late, rather than waiting for a model: that would be a 503 (errors.ts). */
const inTime = (error: VqdError): VqdError =>
  error.code === "no_worker" ? new VqdError("deadline_exceeded", error.message) : error;

/** Text or image to image: `POST /` with the default model, and `POST /models/{owner}/{name}` */
export async function textToImage(c: AppContext): Promise<Response> {
  const body = validate(textToImageSchema, await readBody(c));
  const { use_cache: cache, wait_for_model: waits } = body.options ?? {};
  const model = await modelOf(c, waits === true || c.req.header("x-wait-for-model") === "true");
  if (cache !== undefined && cache !== null) setIgnored(c, ["options.use_cache"]);
  const [config, hubs] = [c.get("config"), c.get("hubs")];
  const format = formatOf(c);
  const input = toPredictionInput(body, model, format);
  const isEdit = Boolean(input.image);
  const pathOf = pathsOf(isEdit);
  const beginning: Beginning = isEdit ? await beginningOf(c, input, model, refuser(pathOf)) : {};
  const idempotency = await idempotencyOf(
    c,
    beginning.image === undefined ? body : { ...body, inputs: beginning.image.identity },
  );
  const { record: created, rate } = await submitPrediction(hubs, config, {
    input,
    beginning,
    model,
    ...submissionOf(c),
    idempotency,
    pathOf,
  });
  if (rate !== null) setRateHeaders(c, rate);
  checkImages(created);
  const hasKey = idempotency !== null;
  const record = await endOf(c, created.id, hasKey ? () => {} : departure(c, created.id, false));
  if (record.status !== "succeeded") throw inTime(failureOf(record, hasKey));
  const [output] = record.outputs;
  const file =
    output === undefined ? null : await c.env.FILES.get(fileKey(record.fileCapability, output.name));
  if (file === null) throw new VqdError("internal", "the image is missing from storage");
  c.header("x-prediction-id", record.id);
  c.header("cache-control", "no-store");
  return c.body(file.body, 200, { "content-type": `image/${format}` });
}
