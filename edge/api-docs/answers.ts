// Schemas of responses: they describe the API, and tests validate every response against them.

import { z } from "@hono/zod-openapi";
import { QUOTAS, SCOPES } from "@vqd/shared/api-key.ts";
import { ERROR_CODES } from "@vqd/shared/errors.ts";
import { PRESET_NAMES } from "@vqd/shared/sampling/preset-names.ts";
import { SEED_DIGITS } from "@vqd/shared/sampling/seed.ts";
import { PRIORITIES } from "@vqd/shared/subjects.ts";
import { IMAGE_TYPES } from "../prediction/image-type.ts";
import { PREDICTION_STATUSES } from "../prediction/statuses.ts";
import { WEBHOOK_EVENTS } from "../prediction/webhook-events.ts";
import { predictionInputSchema } from "../service/schemas.ts";

const time = z.iso.datetime();
const seed = z.union([z.int().min(0), z.string().regex(SEED_DIGITS)]);
const fieldErrorSchema = z.strictObject({
  path: z.string().describe("Dotted path from the root of the body."),
  message: z.string().describe("What is wrong with that field."),
});

export const quotaSchema = z.strictObject({
  name: z.enum(QUOTAS),
  limit: z.number(),
  used: z.number().describe("In this calendar month (UTC), by predictions that have ended."),
  reserved: z.number().describe("For predictions that have not; seconds are estimated."),
  resets_at: time,
});

const openaiErrorObject = z.strictObject({
  message: z.string(),
  type: z.enum(["invalid_request_error", "requests", "insufficient_quota", "server_error"]),
  param: z.string().nullable().describe("The invalid field, as a dotted path from the root of the body."),
  code: z.string(),
});

const problemShape = {
  title: z.string().describe("The status as text."),
  status: z.int().min(400).max(599),
  detail: z.string().describe("Explanation for people."),
  code: z.enum(ERROR_CODES).describe("Stable error code for programs."),
  request_id: z
    .string()
    .describe("Identifies the request in the logs; also sent in the header x-request-id."),
  quota: quotaSchema.optional().describe("The key's monthly quota that is used up."),
  errors: z.array(fieldErrorSchema).min(1).optional().describe("All invalid fields."),
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
  message: "n must be at most 10, the maximum per prediction",
  type: "invalid_request_error",
  param: "n",
  code: "invalid_value",
};

const NOT_FOUND = {
  title: "Not Found",
  status: 404,
  detail: "vqd/scenes is not conditioned by class",
  code: "not_found",
  request_id: "6e267be9-138f-4771-9c9e-ec9fc2c57151",
};
const MODEL_ERROR = {
  message: NOT_FOUND.detail,
  type: "invalid_request_error",
  param: null,
  code: "unknown_url",
};

export const problemSchema = z
  .strictObject(problemShape)
  .openapi("Problem", { description: "An error, as problem details (RFC 9457).", examples: [PROBLEM] });

export const openaiErrorSchema = z.strictObject({ error: openaiErrorObject }).openapi("OpenAIError", {
  description: "An error in OpenAI's format.",
  examples: [{ error: OPENAI_ERROR }],
});

export const modelProblemSchema = z
  .strictObject({ ...problemShape, error: openaiErrorObject })
  .openapi("ModelProblem", {
    description: "An error in both formats at once, for both kinds of client.",
    examples: [{ ...NOT_FOUND, error: MODEL_ERROR }],
  });

const inputSchema = predictionInputSchema.openapi("Input");

export const predictionSchema = z
  .strictObject({
    id: z.string().describe("The service's, or the caller's own."),
    model: z.string().describe("`owner/name`"),
    version: z.string().describe("SHA-256 of the checkpoint's files."),
    status: z.enum(PREDICTION_STATUSES),
    source: z.literal("api"),
    input: inputSchema.describe(
      "The input with defaults and the seed filled in: sent again as input, it makes the same images.",
    ),
    output: z
      .array(z.url())
      .nullable()
      .describe(
        "URLs of the images, which need no key; null until the first is available, and again once they have expired.",
      ),
    error: z.string().nullable(),
    error_code: z.enum(ERROR_CODES).nullable(),
    logs: z.string().describe("Progress in the format of tqdm, one line per percent."),
    queue: z
      .strictObject({
        position: z.int().describe("1 is next."),
        eta_seconds: z.number().nullable().describe("Estimated seconds until it starts, if known."),
      })
      .nullable()
      .describe("Only while it is waiting."),
    metrics: z.strictObject({
      prompt_tokens: z.int().describe("Tokens of all prompts, before truncation."),
      prompt_truncated: z
        .boolean()
        .describe("True if a prompt exceeded the model's length and was truncated."),
      image_count: z.int(),
      steps: z.int().describe("Steps completed."),
      total_steps: z.int(),
      numerics_id: z
        .string()
        .optional()
        .describe("Identifies everything that determines the exact bits of the result."),
      predict_time: z.number().optional().describe("Seconds that the worker took."),
      total_time: z.number().optional().describe("Seconds from creation to completion."),
    }),
    created_at: time,
    started_at: time.nullable(),
    completed_at: time.nullable(),
    data_removed: z.boolean().describe("True once the images have expired."),
    webhook: z.string().optional(),
    webhook_events_filter: z.array(z.enum(WEBHOOK_EVENTS)).optional(),
    output_expires_at: time.nullable().describe("When its images expire; null until it has ended."),
    expires_at: time.nullable().describe("When the prediction itself expires; null until it has ended."),
    urls: z.strictObject({
      get: z.url(),
      cancel: z.url(),
      events: z.url(),
      stream: z.url().describe("The event stream, for anyone who has this URL; needs no key."),
      shared: z.url().optional().describe("While it is shared: the prediction, for anyone who has this URL."),
    }),
  })
  .openapi("Prediction");

export const sharedPredictionSchema = predictionSchema
  .pick({
    id: true,
    model: true,
    version: true,
    status: true,
    input: true,
    output: true,
    error: true,
    metrics: true,
    created_at: true,
    started_at: true,
    completed_at: true,
    data_removed: true,
    output_expires_at: true,
  })
  .openapi("SharedPrediction");

export const predictionListSchema = z
  .strictObject({
    previous: z.url().nullable(),
    next: z.url().nullable().describe("The next page, of older predictions."),
    results: z.array(predictionSchema).describe("Newest first."),
  })
  .openapi("PredictionList");

export const fileSchema = z
  .strictObject({
    id: z.string(),
    name: z.string().describe("As its owner calls it."),
    content_type: z.enum(Object.values(IMAGE_TYPES)).describe("By its content, whatever its name."),
    size: z.int().describe("Bytes."),
    etag: z.string().describe("The checksum again: Replicate's Python client requires it."),
    checksums: z.strictObject({ sha256: z.string() }),
    metadata: z.record(z.string(), z.unknown()).describe("As given."),
    created_at: time,
    expires_at: time,
    urls: z.strictObject({
      get: z.url().describe("This resource, and what names the file in an input."),
      download: z.url().describe("The file itself, for anyone who has this URL; needs no key."),
    }),
  })
  .openapi("File");

export const fileListSchema = z
  .strictObject({
    previous: z.url().nullable(),
    next: z.url().nullable().describe("The next page, of older files."),
    results: z.array(fileSchema).describe("Newest first."),
  })
  .openapi("FileList");

const userShape = {
  type: z.literal("user"),
  username: z.string().describe("The name of the key's owner: keys with the same name share predictions."),
  name: z.string().describe("The same."),
};

export const userSchema = z.strictObject(userShape).openapi("User");

export const accountSchema = z
  .strictObject({
    ...userShape,
    key: z
      .strictObject({
        scopes: z.array(z.enum(SCOPES)),
        priority: z.enum(PRIORITIES).describe("The highest that its predictions may have."),
        limits: z.strictObject({
          per_minute: z.int().describe("Most predictions per minute."),
          live: z.int().describe("Most predictions that have not ended."),
        }),
        expires_at: time.nullable(),
      })
      .describe("What the key may do; not a part of Replicate's resource."),
  })
  .openapi("Account");

export const imagesSchema = z
  .strictObject({
    created: z.int().describe("Unix time in seconds."),
    data: z.array(z.union([z.strictObject({ b64_json: z.base64() }), z.strictObject({ url: z.url() })])),
    output_format: z.enum(["png", "webp", "jpeg"]),
    size: z.string(),
    quality: z.enum(["low", "medium", "high"]).describe("The quality that the preset stands for."),
    background: z.literal("opaque"),
    resampled_from: z
      .string()
      .optional()
      .describe("The size of the model's images, from which these were resampled to `size`."),
    ignored: z
      .array(z.string())
      .optional()
      .describe("Parameters that had no effect; also in the header `x-ignored-parameters`."),
    safety_identifier: z
      .string()
      .optional()
      .describe("The request's `safety_identifier`, or else its `user`."),
    usage: z.strictObject({
      input_tokens: z.int(),
      output_tokens: z.int().describe("Number of latent pixels of all images."),
      total_tokens: z.int(),
      input_tokens_details: z.strictObject({ text_tokens: z.int(), image_tokens: z.int() }),
      output_tokens_details: z.strictObject({ text_tokens: z.int(), image_tokens: z.int() }),
    }),
    prompt_truncated: z.boolean(),
    prediction_id: z.string(),
    seed: seed.optional().describe("Reproduces these images; absent if the request gave `seeds`."),
    seeds: z.array(seed).optional().describe("One per image, if the request gave them."),
    expires_at: z.int().optional().describe("When the URLs expire, as Unix time in seconds."),
  })
  .openapi("Images");

export const versionSchema = z
  .strictObject({
    id: z.string().describe("SHA-256 of the checkpoint's files."),
    created_at: time.describe("When a worker last announced it."),
    cog_version: z.literal("").describe("Empty: models are not packaged with Cog."),
    openapi_schema: z.record(z.string(), z.unknown()).describe("Schemas of input and output."),
    share: z
      .number()
      .min(0)
      .max(1)
      .describe(
        "The part of the requests for the model's name that this version gets: its operator decides.",
      ),
  })
  .openapi("Version");

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
    is_official: z.literal(false).describe("A field of Replicate's without a meaning here."),
    run_count: z.literal(0).describe("Not counted; clients of Replicate require it."),
    latest_version: versionSchema.describe("The version that serves the name, or most of its requests."),
    card: z
      .strictObject({
        examples: z.array(z.string()).describe("Prompts that it is good at."),
        presets: z.array(z.enum(PRESET_NAMES)).describe("The presets that suit it."),
        note: z.string().nullable().describe("How to prompt it."),
      })
      .describe("What its makers say to those who use it: plain text, from the checkpoint's README.md."),
    conditioning: z
      .enum(["text", "class", "none"])
      .describe("What its prompts are: texts, names or labels of classes, or nothing."),
    known_words: z
      .int()
      .nullable()
      .describe("How many words it knows, which `/vocabulary` lists; null if its checkpoint does not say."),
    defaults: z.strictObject({
      guidance_scale: z.number().describe("Used where a request does not set it."),
    }),
    limits: z.strictObject({
      max_inference_steps: z.int(),
      max_prompt_tokens: z.int(),
      image_width: z.int().describe("Pixels."),
      image_height: z.int().describe("Pixels."),
      latent_width: z.int().describe("Tokens."),
      latent_height: z.int().describe("Tokens."),
      latent_classes: z.int().describe("Number of values a token can have; the last one is the mask."),
      parameters: z.int(),
    }),
    seconds_per_image_step: z
      .number()
      .nullable()
      .describe("What a step of an image has taken in recent runs here; null if there were none."),
  })
  .openapi("Model", { description: "A model in OpenAI's and Replicate's formats at once." });

export const modelListSchema = z
  .strictObject({
    object: z.literal("list"),
    data: z.array(modelSchema),
    next: z.null(),
    previous: z.null(),
    results: z.array(modelSchema).describe("The same as data."),
  })
  .openapi("ModelList");

export const classesSchema = z
  .strictObject({
    model: z.string(),
    version: z.string(),
    num_classes: z.int().describe("Labels are 0 to num_classes - 1."),
    id2label: z
      .record(z.string(), z.string())
      .describe("Names by label, with synonyms after commas; not every class needs one."),
  })
  .openapi("Classes");

export const vocabularySchema = z
  .strictObject({
    model: z.string(),
    version: z.string(),
    words: z.array(z.string()).describe("In lower case."),
  })
  .openapi("Vocabulary");

export const shareSchema = z
  .strictObject({
    id: z.string().describe("The service's id of the prediction."),
    capability: z.string().describe("The unguessable part of the links."),
    url: z.url().describe("The prediction as others see it, without a key."),
    page: z.url().describe("The same in the playground."),
  })
  .openapi("Share");

export const paletteSchema = z
  .strictObject({
    model: z.string(),
    version: z.string(),
    classes: z.int().describe("Number of values a token can have."),
    mask: z.int().describe("The value of a masked token."),
    latent_width: z.int(),
    latent_height: z.int(),
    rgb: z.base64().describe("Red, green and blue byte of each class except the mask."),
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
  .strictObject({
    key: z.string().describe("`whsec_` followed by base64, as the libraries of Standard Webhooks expect it."),
  })
  .openapi("WebhookSecret");

export const receiptFileSchema = z
  .strictObject({
    receipt: z
      .string()
      .describe(
        "A JSON Web Signature in compact form, EdDSA with Ed25519; its header names the key (`kid`).",
      ),
    states: z
      .array(z.string())
      .describe("The class ids the image began with, and after each step, as uint16 LE in base64."),
  })
  .openapi("ReceiptFile");

export const receiptKeysSchema = z
  .strictObject({
    keys: z.array(
      z.strictObject({
        kty: z.literal("OKP"),
        crv: z.literal("Ed25519"),
        x: z.string().describe("The public key, in base64url."),
        kid: z.string().describe("Its thumbprint, as in RFC 7638."),
        alg: z.literal("EdDSA"),
        use: z.literal("sig"),
      }),
    ),
  })
  .openapi("ReceiptKeys");

export const rotatedSecretSchema = z
  .strictObject({
    key: z.string(),
    old_key_signs_until: time.describe(
      "Until then both secrets sign, so that receivers can be updated in the meantime.",
    ),
  })
  .openapi("RotatedSecret");

export const webhookAttemptsSchema = z
  .strictObject({
    webhook: z.string().nullable(),
    results: z.array(
      z.strictObject({
        id: z.string().describe("The webhook-id header, which is the same for all attempts."),
        event: z.enum(WEBHOOK_EVENTS),
        state: z.enum(["pending", "delivered", "failed", "disabled"]),
        next_attempt_at: time.nullable(),
        attempts: z.array(
          z.strictObject({
            at: time,
            status: z.int().nullable().describe("Status of the receiver's response."),
            error: z.string().nullable(),
            duration_ms: z.number(),
          }),
        ),
      }),
    ),
  })
  .openapi("WebhookAttempts");

export const queuedSchema = z.strictObject({ status: z.literal("queued") }).openapi("Queued");
