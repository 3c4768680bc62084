// Operations: OpenAI's images endpoints.

import { z } from "@hono/zod-openapi";
import { editImagesSchema, generateImagesSchema, variationSchema } from "./schema.ts";
import { imagesSchema } from "../api-docs/answers.ts";
import {
  cancelAfter,
  form,
  idempotencyKey,
  json,
  jsonBody,
  KEY_ERRORS,
  KEYED,
  openaiErrors,
  type Operation,
} from "../api-docs/operation.ts";

export const openaiTag = {
  name: "Images",
  description: "OpenAI's endpoints: one request, whose response contains the images.",
};
const tags = [openaiTag.name];
const headers = z.object({ "Idempotency-Key": idempotencyKey, "Cancel-After": cancelAfter });

const MASK = "An image of the same size; what is transparent in it is made anew.";
const file = (description: string) => z.string().openapi({ format: "binary", description });

const errors = openaiErrors(400, ...KEY_ERRORS, 404, 409, 410, 413, 415, 429, 500, 504);
const responses: Operation["responses"] = {
  200: {
    description: "The images; with `stream`, the events.",
    content: {
      "application/json": { schema: imagesSchema },
      "text/event-stream": { schema: {} },
    },
  },
  ...errors,
};

export const openaiOperations: readonly Operation[] = [
  {
    method: "post",
    path: "/v1/images/generations",
    operationId: "generateImages",
    summary: "Generate images and wait",
    description:
      "OpenAI's API: one request, whose response contains the images. If the client disconnects first, the prediction is " +
      "canceled as soon as the edge notices (a proxy in between may report it late or not at all), unless the request has an " +
      "`Idempotency-Key`. A client that counts its tries in `X-Stainless-Retry-Count`, as OpenAI's do, has 10 seconds to send " +
      "the same request again: it then rejoins its prediction. As in OpenAI's API, an invalid field is answered " +
      "with 400.\n\n" +
      "With `stream`, the response is a stream of server-sent events: `image_generation.partial_image`, up to " +
      "`partial_images` times per image (fewer if there are fewer steps), then `image_generation.completed` for each " +
      "image, or `error`.\n\n" +
      "`x-should-retry` says whether the same request may succeed later. It is `false` if a prediction with an " +
      "`Idempotency-Key` has failed, since every request with that key gets the same failure.",
    tags,
    ...KEYED,
    request: {
      headers,
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
    responses,
  },
  {
    method: "post",
    path: "/v1/images/edits",
    operationId: "editImages",
    summary: "Make a part of an image anew, and wait",
    description:
      "OpenAI's API, as a form. What is transparent in `mask` is made anew, or without a mask, what is transparent in `image`; the " +
      "rest keeps its pixels. If nothing is transparent, all of the image is made anew from what it shows, to the degree of " +
      "`strength`. The image is scaled to cover the model's size, and its centre is cut out. Everything else is as for " +
      "generations; events of a stream are called `image_edit.partial_image` and `image_edit.completed`.",
    tags,
    ...KEYED,
    request: {
      headers,
      body: form(
        editImagesSchema
          .extend({ image: file("The image."), mask: file(MASK).optional() })
          .openapi("EditImages"),
        {
          mask: {
            summary: "A part of an image",
            value: { image: "photo.png", mask: "mask.png", prompt: "a red hat" },
          },
          all: {
            summary: "All of an image",
            value: { image: "photo.png", prompt: "fox, flat style", strength: 0.5 },
          },
        },
      ),
    },
    responses,
  },
  {
    method: "post",
    path: "/v1/images/variations",
    operationId: "createVariation",
    summary: "Vary an image, and wait",
    description:
      "OpenAI's API, as a form. The image is made anew from what it shows, to the degree of `strength`, with a `prompt` if there " +
      "is one.",
    tags,
    ...KEYED,
    request: {
      headers,
      body: form(variationSchema.extend({ image: file("The image.") }).openapi("CreateVariation"), {
        image: { summary: "Just an image", value: { image: "photo.png" } },
        several: { summary: "Three variations", value: { image: "photo.png", n: 3, strength: 0.5 } },
      }),
    },
    responses: { 200: json(imagesSchema, "The images."), ...errors },
  },
];
