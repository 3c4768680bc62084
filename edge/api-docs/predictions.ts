// Operations: Replicate's predictions resource, and event streams.

import { z } from "@hono/zod-openapi";
import { LOOKED_THROUGH } from "../prediction/records.ts";
import { PREDICTION_STATUSES } from "../prediction/statuses.ts";
import { createPredictionSchema } from "../service/schemas.ts";
import { predictionListSchema, predictionSchema } from "./answers.ts";
import {
  cancelAfter,
  CREATE_ERRORS,
  DESTRUCTIVE,
  idempotencyKey,
  json,
  jsonBody,
  KEY_ERRORS,
  KEYED,
  listQuery,
  OPEN,
  type Operation,
  PATH,
  problems,
} from "./operation.ts";

const tags = ["Predictions"];

const EVENTS = `Server-sent events, with an \`id\` counting from 1. To resume after a disconnect, send the last id as
\`Last-Event-ID\` (a browser's EventSource does) or as \`?last_event_id=\`: no event is lost or repeated.

- \`started\`: \`{attempt, total, resumed_from, numerics_id}\`. A worker has started the job; \`resumed_from\` is above 0
  if it continues from a step of another worker.
- \`step\`: \`{step, total, timestep, masked, images, tokens}\`. \`tokens\` is base64 of little-endian uint16: the
  tokens of each image, row by row; \`masked\` is how many are still masked. The model's palette has their colours.
- \`preview\`: \`{index, preview, step, url}\`, if requested by \`num_previews\`: the most likely result at that step.
- \`output\`: an image is available.
- \`logs\`: a line of progress.
- \`error\`: \`{detail, code}\`.
- \`done\`: \`{status, reason}\`, the last event.`;

const eventStream = {
  description: "All events so far, then new ones as they happen.",
  content: { "text/event-stream": { schema: {} } },
};
const noMoreEvents = { description: "There are no more events. An EventSource does not reconnect." };

const lastEventId = z.object({
  last_event_id: z
    .string()
    .optional()
    .openapi({
      description: "Id of the last event seen, for clients that cannot set Last-Event-ID.",
      examples: ["12"],
    }),
});

const predictionListQuery = listQuery.extend({
  status: z
    .string()
    .optional()
    .openapi({
      enum: [...PREDICTION_STATUSES, ""],
      description: "Only those with this status. Empty for any.",
      examples: ["failed"],
    }),
  model: z
    .string()
    .optional()
    .openapi({
      description: "Only those of this model, in any version. Empty for any.",
      examples: ["vqd/scenes"],
    }),
  id: z
    .string()
    .optional()
    .openapi({
      maxLength: 100,
      pattern: "^[A-Za-z0-9_.\\-]*$",
      description:
        "Only those whose id, the service's or the caller's own, has this in it, in upper or lower case. Empty for any.",
      examples: ["00f3k9"],
    }),
});

const createHeaders = z.object({
  Prefer: z
    .string()
    .optional()
    .openapi({
      description:
        "`wait` or `wait=5`: respond once the images are complete, or after 60 or 5 seconds at the latest.",
      examples: ["wait=30"],
    }),
  "Idempotency-Key": idempotencyKey,
  "Cancel-After": cancelAfter,
});

const createBody = jsonBody(createPredictionSchema.openapi("CreatePrediction"), {
  prompt: { summary: "Just a prompt", value: { input: { prompt: "fox, flat style" } } },
  settings: {
    summary: "With settings",
    value: {
      input: {
        prompt: "fox, flat style",
        negative_prompt: "hat",
        num_inference_steps: 25,
        guidance_scale: 3,
        truncation_rate: 0.86,
        num_outputs: 2,
        seed: 7,
        output_format: "webp",
      },
    },
  },
  fast: {
    summary: "In ten steps",
    value: {
      input: {
        prompt: "red apple",
        num_inference_steps: 10,
        scheduler: "strided",
        order: "confidence",
        temperature: 0.5,
      },
    },
  },
  draft: { summary: "A quick draft", value: { input: { prompt: "red apple", preset: "draft" } } },
  webhook: {
    summary: "With a webhook",
    value: {
      input: { prompt: "red apple", num_previews: 2 },
      webhook: "https://example.com/hook",
      webhook_events_filter: ["completed"],
    },
  },
  edit: {
    summary: "A part of an image made anew",
    value: {
      input: {
        prompt: "a red hat",
        image: "https://example.com/cat.png",
        mask: "https://example.com/white-where-the-hat-goes.png",
      },
    },
  },
  vary: {
    summary: "A variation of an image",
    value: { input: { image: "https://example.com/cat.png", strength: 0.5, num_outputs: 4 } },
  },
  fork: {
    summary: "Another prompt from the tenth step on",
    value: { input: { from: { prediction: "00f3k9x2m4t6v8y0a1b2c3d4e5", step: 10 }, prompt: "green apple" } },
  },
  prompts: {
    summary: "Several prompts",
    value: { input: { prompt: ["red apple", "green apple"], seed: 1 } },
  },
});

const replayed = json(
  predictionSchema,
  "The prediction created by an earlier request with this `Idempotency-Key`.",
);
const created = json(predictionSchema, "Created; with `Prefer: wait`, in its state at the end of the wait.");

/** What all ways to create a prediction have in common. */
export const creation = {
  request: { headers: createHeaders, body: createBody },
  responses: { 200: replayed, 201: created },
};

export const predictionOperations: readonly Operation[] = [
  {
    method: "post",
    path: "/v1/predictions",
    operationId: "createPrediction",
    summary: "Create a prediction",
    description:
      "Replicate's API: responds immediately, or with `Prefer: wait` once the images are complete.",
    tags,
    ...KEYED,
    request: creation.request,
    responses: { ...creation.responses, ...problems(...CREATE_ERRORS, 404, 500) },
  },
  {
    method: "get",
    path: "/v1/predictions",
    operationId: "listPredictions",
    summary: "List your predictions",
    description:
      "Newest first, in pages linked by `next` and `previous`. A page with long prompts, or with archived predictions, may hold fewer than `limit`, even if there are more.\n\n" +
      `\`status\`, \`model\` and \`id\` narrow it down. A page then has what is among the next ${LOOKED_THROUGH.toLocaleString("en")} ` +
      "predictions, so that even an empty one may have a `next`; it counts as several reads.",
    tags,
    ...KEYED,
    request: { query: predictionListQuery },
    responses: {
      200: json(predictionListSchema, "A page of predictions."),
      ...problems(422, 429, 500, ...KEY_ERRORS),
    },
  },
  {
    method: "post",
    path: "/v1/models/{owner}/{name}/predictions",
    operationId: "createModelPrediction",
    summary: "Create a prediction with a model",
    description: "The same, with the model in the path; `version` and `model` must be omitted.",
    tags,
    ...KEYED,
    request: { params: z.object({ owner: PATH.owner, name: PATH.name }), ...creation.request },
    responses: { ...creation.responses, ...problems(404, 500, ...CREATE_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/predictions/{id}",
    operationId: "getPrediction",
    summary: "Get a prediction",
    description: "An old one may be archived: then its images, steps, receipts and links are gone.",
    tags,
    ...KEYED,
    request: { params: z.object({ id: PATH.id }) },
    responses: {
      200: json(predictionSchema, "The prediction in its current state."),
      ...problems(404, 429, 500, ...KEY_ERRORS),
    },
  },
  {
    method: "put",
    path: "/v1/predictions/{id}",
    operationId: "putPrediction",
    summary: "Create a prediction with an id of your own",
    description:
      "As in cog. The id takes the place of an `Idempotency-Key`: sent again, the same request returns the same prediction, " +
      "and a different one is rejected. The prediction is found by this id wherever a path has one. Ids are unique per owner, and " +
      "free again once the prediction has been deleted, archived or has expired.",
    tags,
    ...KEYED,
    request: {
      params: z.object({ id: PATH.ownId }),
      headers: createHeaders.omit({ "Idempotency-Key": true }),
      body: createBody,
    },
    responses: {
      200: json(predictionSchema, "The prediction created by an earlier request with this id."),
      201: created,
      ...problems(...CREATE_ERRORS, 404, 500),
    },
  },
  {
    method: "delete",
    path: "/v1/predictions/{id}",
    operationId: "deletePrediction",
    summary: "Delete a prediction",
    description:
      "With its input, images, events and webhooks, for good. One that has not ended is canceled first, without a webhook. " +
      "Copies of images that caches hold are not deleted. An archived one leaves its archive within minutes.",
    tags,
    ...KEYED,
    request: { params: z.object({ id: PATH.id }) },
    responses: { 204: { description: "It is deleted." }, ...problems(404, 429, 500, ...KEY_ERRORS) },
  },
  {
    method: "post",
    path: "/v1/predictions/{id}/cancel",
    operationId: "cancelPrediction",
    summary: "Cancel a prediction",
    description:
      "Takes effect immediately, and frees the worker at its next step. A prediction that has ended does not change. " +
      "A key without the scope `read` gets it without input, output, logs and error.",
    tags,
    ...KEYED,
    ...DESTRUCTIVE,
    request: { params: z.object({ id: PATH.id }) },
    responses: { 200: json(predictionSchema, "The prediction."), ...problems(404, ...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/predictions/{id}/events",
    operationId: "predictionEvents",
    summary: "Follow a prediction",
    description: `${EVENTS}\n\nHere an \`output\` is \`{index, url}\`.`,
    tags,
    ...KEYED,
    request: { params: z.object({ id: PATH.id }), query: lastEventId },
    responses: { 200: eventStream, 204: noMoreEvents, ...problems(404, 429, ...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/streams/{id}/{capability}",
    operationId: "streamPrediction",
    summary: "Follow a prediction without a key",
    description: `The URL in a prediction's \`urls.stream\`. ${EVENTS}\n\nHere an \`output\` is the bare URL, as Replicate's client reads it. That for Python, known by its User-Agent, only gets \`output\`, \`logs\`, \`error\` and \`done\`: others would end its stream.`,
    tags,
    ...OPEN,
    request: { params: z.object({ id: PATH.id, capability: PATH.capability }), query: lastEventId },
    responses: { 200: eventStream, 204: noMoreEvents, ...problems(404, 429, 503) },
  },
];
