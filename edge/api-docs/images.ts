// OpenAI's images endpoint, described.

import { z } from "@hono/zod-openapi";
import { generateImagesSchema } from "../service/schemas.ts";
import { imagesSchema } from "./answers.ts";
import {
  cancelAfter,
  idempotencyKey,
  jsonBody,
  KEY_ERRORS,
  KEYED,
  openaiErrors,
  type Operation,
} from "./operation.ts";

export const imageOperations: readonly Operation[] = [
  {
    method: "post",
    path: "/v1/images/generations",
    operationId: "generateImages",
    summary: "Make images and wait",
    description:
      "OpenAI's form: one request that answers with the images. If the client leaves before, they are not made, as " +
      "soon as the edge hears of it (a proxy in between, as that of `npm start`, may tell late or not at all); with an " +
      "`Idempotency-Key` they are. " +
      "What is wrong with a field is answered with 400, as OpenAI does.\n\n" +
      "With `stream`, the answer is server-sent events: `image_generation.partial_image` for each image, " +
      "as many times as `partial_images` says or, with fewer steps, as there are; then " +
      "`image_generation.completed` for each image, or `error`.\n\n" +
      "`x-should-retry` says whether the same request may succeed later. It is `false` where a prediction of an " +
      "`Idempotency-Key` has failed: every request with that key gets the same failure.",
    tags: ["Images"],
    ...KEYED,
    request: {
      headers: z.object({ "Idempotency-Key": idempotencyKey, "Cancel-After": cancelAfter }),
      body: jsonBody(generateImagesSchema.openapi("GenerateImages"), {
        prompt: { summary: "Just a prompt", value: { prompt: "fox, flat style" } },
        stream: {
          summary: "Streamed",
          value: { prompt: "fox, flat style", stream: true, partial_images: 2 },
        },
        settings: {
          summary: "With settings",
          value: {
            prompt: "fox, flat style",
            n: 2,
            response_format: "b64_json",
            output_format: "webp",
            num_inference_steps: 25,
            guidance_scale: 3,
            seed: 7,
          },
        },
      }),
    },
    responses: {
      200: {
        description: "The images; with `stream`, the events.",
        content: {
          "application/json": { schema: imagesSchema },
          "text/event-stream": { schema: z.string() },
        },
      },
      ...openaiErrors(400, ...KEY_ERRORS, 404, 409, 410, 413, 415, 429, 500, 504),
    },
  },
];
