// What the API answers, as schemas: they describe, and tests hold every answer against them.

import { z } from "@hono/zod-openapi";
import { ERROR_CODES } from "@vqd/shared/errors.ts";
import { PREDICTION_STATUSES } from "../prediction/statuses.ts";
import { WEBHOOK_EVENTS } from "../prediction/webhook-events.ts";
import { predictionInputSchema } from "../service/schemas.ts";

const time = z.iso.datetime();
const fieldErrorSchema = z.strictObject({
  path: z.string().describe("Where in the body, dotted from its root."),
  message: z.string().describe("What is wrong there."),
});

const openaiErrorObject = z.strictObject({
  message: z.string(),
  type: z.enum(["invalid_request_error", "requests", "server_error"]),
  param: z.string().nullable().describe("The field that is wrong, dotted from the body's root."),
  code: z.string(),
});

const problemShape = {
  title: z.string().describe("The status in words."),
  status: z.int().min(400).max(599),
  detail: z.string().describe("What is wrong, for people."),
  code: z.enum(ERROR_CODES).describe("What is wrong, for programs."),
  request_id: z.string().describe("Also in the header x-request-id; names the request in the logs."),
  errors: z.array(fieldErrorSchema).min(1).optional().describe("Every field that is wrong."),
};

const PROBLEM = {
  title: "Unprocessable Content",
  status: 422,
  detail: "input.guidance_scale must be at most 20",
  code: "invalid_input",
  request_id: "0d9f6a4e-3a0e-4f5b-9a3c-0f8f5d0c8d4b",
  errors: [{ path: "input.guidance_scale", message: "must be at most 20" }],
};
const OPENAI_ERROR = {
  message: "n must be at most 10: a prediction makes no more images",
  type: "invalid_request_error",
  param: "n",
  code: "invalid_value",
};

export const problemSchema = z
  .strictObject(problemShape)
  .openapi("Problem", { description: "An error, as RFC 9457 has it.", examples: [PROBLEM] });

export const openaiErrorSchema = z.strictObject({ error: openaiErrorObject }).openapi("OpenAIError", {
  description: "An error, as OpenAI has it.",
  examples: [{ error: OPENAI_ERROR }],
});

export const modelProblemSchema = z
  .strictObject({ ...problemShape, error: openaiErrorObject })
  .openapi("ModelProblem", { description: "An error in both forms at once, for both kinds of client." });

const inputSchema = predictionInputSchema.openapi("Input");

export const predictionSchema = z
  .strictObject({
    id: z.string(),
    model: z.string().describe("`owner/name`"),
    version: z.string().describe("SHA-256 of the checkpoint's files."),
    status: z.enum(PREDICTION_STATUSES),
    source: z.literal("api"),
    input: inputSchema.describe(
      "The input with its defaults and its seed filled in: given back as input, it makes the same images.",
    ),
    output: z
      .array(z.url())
      .nullable()
      .describe(
        "URLs of the images, fetched without a key; null until the first one, and once they have expired.",
      ),
    error: z.string().nullable(),
    error_code: z.enum(ERROR_CODES).nullable(),
    logs: z.string().describe("Progress in tqdm's form, a line for each percent."),
    queue: z
      .strictObject({
        position: z.int().describe("1 for the next one."),
        eta_seconds: z.number().nullable().describe("Estimated time to its start, if known."),
      })
      .nullable()
      .describe("While it waits."),
    metrics: z.strictObject({
      prompt_tokens: z.int().describe("Tokens of all prompts, before any cut."),
      prompt_truncated: z
        .boolean()
        .describe("True if a prompt was longer than the model reads, and lost its end."),
      image_count: z.int(),
      steps: z.int().describe("Steps done."),
      total_steps: z.int(),
      numerics_id: z.string().optional().describe("Everything that decides the bits of a result, as one id."),
      predict_time: z.number().optional().describe("Seconds at the worker."),
      total_time: z.number().optional().describe("Seconds from creation to end."),
    }),
    created_at: time,
    started_at: time.nullable(),
    completed_at: time.nullable(),
    data_removed: z.boolean().describe("True once the images have expired."),
    webhook: z.string().optional(),
    webhook_events_filter: z.array(z.enum(WEBHOOK_EVENTS)).optional(),
    output_expires_at: time.nullable().describe("Until when its images can be fetched, once it has ended."),
    expires_at: time.nullable().describe("Until when the prediction itself can be."),
    urls: z.strictObject({
      get: z.url(),
      cancel: z.url(),
      events: z.url(),
      stream: z.url().describe("The event stream for whoever has this URL; it needs no key."),
    }),
  })
  .openapi("Prediction");

export const predictionListSchema = z
  .strictObject({
    previous: z.url().nullable(),
    next: z.url().nullable().describe("The page of older ones."),
    results: z.array(predictionSchema).describe("Newest first."),
  })
  .openapi("PredictionList");

export const imagesSchema = z
  .strictObject({
    created: z.int().describe("Unix time in seconds."),
    data: z.array(z.union([z.strictObject({ b64_json: z.base64() }), z.strictObject({ url: z.url() })])),
    output_format: z.enum(["png", "webp", "jpeg"]),
    size: z.string(),
    background: z.literal("opaque"),
    safety_identifier: z.string().optional().describe("The request's, or its user."),
    usage: z.strictObject({
      input_tokens: z.int(),
      output_tokens: z.int().describe("Latent pixels of all images."),
      total_tokens: z.int(),
      input_tokens_details: z.strictObject({ text_tokens: z.int(), image_tokens: z.int() }),
      output_tokens_details: z.strictObject({ text_tokens: z.int(), image_tokens: z.int() }),
    }),
    prompt_truncated: z.boolean(),
    prediction_id: z.string(),
    seed: z.int().describe("Makes these images again."),
    expires_at: z.int().optional().describe("Unix time in seconds, until when URLs can be fetched."),
  })
  .openapi("Images");

export const modelSchema = z
  .strictObject({
    id: z.string().describe("`owner/name`"),
    object: z.literal("model"),
    created: z.int().describe("Unix time in seconds."),
    owned_by: z.string(),
    url: z.url(),
    owner: z.string(),
    name: z.string(),
    description: z.string(),
    visibility: z.literal("public"),
    latest_version: z.strictObject({
      id: z.string().describe("SHA-256 of the checkpoint's files."),
      created_at: time,
      openapi_schema: z.record(z.string(), z.unknown()).describe("Schemas of input and output."),
    }),
    defaults: z.strictObject({
      guidance_scale: z.number().describe("Where a request says nothing."),
    }),
    limits: z.strictObject({
      max_inference_steps: z.int(),
      max_prompt_tokens: z.int(),
      image_width: z.int().describe("Pixels."),
      image_height: z.int().describe("Pixels."),
      latent_width: z.int().describe("Tokens."),
      latent_height: z.int().describe("Tokens."),
      latent_classes: z.int().describe("Values of a token, the last one being the mask."),
      parameters: z.int(),
    }),
  })
  .openapi("Model", { description: "A model in OpenAI's and Replicate's form at once." });

export const modelListSchema = z
  .strictObject({
    object: z.literal("list"),
    data: z.array(modelSchema),
    next: z.null(),
    previous: z.null(),
    results: z.array(modelSchema).describe("The same as data."),
  })
  .openapi("ModelList");

export const paletteSchema = z
  .strictObject({
    model: z.string(),
    version: z.string(),
    classes: z.int().describe("Values of a token."),
    mask: z.int().describe("The value of a masked token."),
    latent_width: z.int(),
    latent_height: z.int(),
    rgb: z.base64().describe("Red, green and blue byte of each class but the mask."),
  })
  .openapi("Palette");

export const healthSchema = z
  .strictObject({
    status: z.enum(["ready", "unavailable"]),
    hub: z.enum(["ok", "failed"]),
    nats: z.enum(["connected", "unavailable", "unreachable", "unknown"]),
    live_predictions: z.int(),
    models: z.array(z.strictObject({ name: z.string(), version: z.string() })),
  })
  .openapi("Health");

export const webhookSecretSchema = z
  .strictObject({ key: z.string().describe("`whsec_` and base64: what Standard Webhooks' libraries take.") })
  .openapi("WebhookSecret");

export const rotatedSecretSchema = z
  .strictObject({
    key: z.string(),
    old_key_signs_until: time.describe("Until then both sign, so that receivers can be changed meanwhile."),
  })
  .openapi("RotatedSecret");

export const webhookAttemptsSchema = z
  .strictObject({
    webhook: z.string().nullable(),
    results: z.array(
      z.strictObject({
        id: z.string().describe("The header webhook-id, the same in every attempt."),
        event: z.enum(WEBHOOK_EVENTS),
        state: z.enum(["pending", "delivered", "failed", "disabled"]),
        next_attempt_at: time.nullable(),
        attempts: z.array(
          z.strictObject({
            at: time,
            status: z.int().nullable().describe("What the receiver answered."),
            error: z.string().nullable(),
            duration_ms: z.number(),
          }),
        ),
      }),
    ),
  })
  .openapi("WebhookAttempts");

export const queuedSchema = z.strictObject({ status: z.literal("queued") }).openapi("Queued");
