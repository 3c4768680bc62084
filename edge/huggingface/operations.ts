// Operations of Hugging Face's dialect.

import { z } from "@hono/zod-openapi";
import {
  cancelAfter,
  CREATE_ERRORS,
  errorAnswers,
  idempotencyKey,
  jsonBody,
  KEYED,
  type Operation,
  PATH,
} from "../api-docs/operation.ts";
import { huggingfaceErrorSchema, textToImageSchema } from "./schema.ts";

export const huggingfaceTag = {
  name: "Hugging Face",
  description:
    "The text-to-image task of Hugging Face's inference: one request, whose response is the image.",
};

const image = { schema: z.string().openapi({ format: "binary" }) };

const headers = z.object({
  "Idempotency-Key": idempotencyKey,
  "Cancel-After": cancelAfter,
  "X-Wait-For-Model": z
    .string()
    .optional()
    .openapi({
      description:
        "With `true`, waits up to a minute for a worker to announce a model, instead of answering 503.",
      examples: ["true"],
    }),
});

const common: Omit<Operation, "path" | "operationId"> = {
  method: "post",
  description:
    "As `InferenceClient` of Hugging Face's libraries requests it, for JavaScript and Python, with this service as its " +
    "endpoint. The `Accept` header chooses among PNG (the default), WebP and JPEG. `x-prediction-id` names the prediction. If " +
    "the client disconnects first, the prediction is canceled, unless the request has an `Idempotency-Key`. The answer is 503 " +
    "with `estimated_time` only while no model has been announced, since Hugging Face's client then tries again without end.",
  tags: [huggingfaceTag.name],
  ...KEYED,
  responses: {
    200: {
      description: "The image.",
      content: { "image/png": image, "image/webp": image, "image/jpeg": image },
    },
    ...errorAnswers([...CREATE_ERRORS, 404, 409, 410, 500, 504], "application/json", huggingfaceErrorSchema),
  },
};

const body = jsonBody(textToImageSchema.openapi("TextToImage"), {
  prompt: { summary: "Just a prompt", value: { inputs: "fox, flat style" } },
  parameters: {
    summary: "With parameters",
    value: {
      inputs: "fox, flat style",
      parameters: { num_inference_steps: 25, guidance_scale: 3, seed: 7, width: 512 },
    },
  },
});

export const huggingfaceOperations: readonly Operation[] = [
  {
    ...common,
    path: "/",
    operationId: "textToImage",
    summary: "Generate an image with the default model",
    request: { headers, body },
  },
  {
    ...common,
    path: "/models/{owner}/{name}",
    operationId: "textToImageOfModel",
    summary: "Generate an image with a model",
    request: { headers, body, params: z.object({ owner: PATH.owner, name: PATH.name }) },
  },
];
