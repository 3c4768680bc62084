// Replicate's predictions resource, described.

import { z } from "@hono/zod-openapi";
import { createPredictionSchema } from "../service/schemas.ts";
import { predictionListSchema, predictionSchema } from "./answers.ts";
import {
  cancelAfter,
  CREATE_ERRORS,
  idempotencyKey,
  json,
  jsonBody,
  KEY_ERRORS,
  KEYED,
  modelProblems,
  OPEN,
  type Operation,
  PATH,
  problems,
} from "./operation.ts";

const tags = ["Predictions"];

const EVENTS = `Server-sent events, numbered from 1 in \`id\`. After a cut, send the last one as \`Last-Event-ID\`
(a browser's EventSource does) or as \`?last_event_id=\`: nothing is lost or doubled.

- \`started\`: \`{attempt, total, resumed_from, numerics_id}\`. A worker has taken the job; \`resumed_from\` is above 0
  when it goes on from another worker's step.
- \`step\`: \`{step, total, timestep, masked, images, tokens}\`. \`tokens\` is base64 of uint16, little endian: the
  tokens of each image, row by row; \`masked\` counts those that are still masked. A model's palette gives their colours.
- \`preview\`: \`{index, preview, step, url}\`, if \`num_previews\` asks for them: the most likely result at that step.
- \`output\`: an image is there.
- \`logs\`: a line of progress.
- \`error\`: \`{detail, code}\`.
- \`done\`: \`{status, reason}\`, the last one.`;

const eventStream = {
  description: "The events so far, then each as it happens.",
  content: { "text/event-stream": { schema: z.string() } },
};
const noMoreEvents = { description: "All events have been seen. An EventSource does not come back." };

const lastEventId = z.object({
  last_event_id: z
    .string()
    .optional()
    .openapi({
      description: "The last event seen, for clients that cannot set Last-Event-ID.",
      examples: ["12"],
    }),
});

const createHeaders = z.object({
  Prefer: z
    .string()
    .optional()
    .openapi({
      description:
        "`wait` or `wait=5`: answer when the images are done, at the latest after 60 or 5 seconds.",
      examples: ["wait=30"],
    }),
  "Idempotency-Key": idempotencyKey,
  "Cancel-After": cancelAfter,
});

const time = (description: string) =>
  z
    .string()
    .optional()
    .openapi({ description, format: "date-time", examples: ["2026-11-23T12:00:00Z"] });

const listQuery = z.object({
  limit: z
    .string()
    .optional()
    .openapi({
      type: "integer",
      minimum: 1,
      maximum: 100,
      description: "Predictions of a page, 100 if left out.",
      examples: [20],
    }),
  cursor: z
    .string()
    .optional()
    .openapi({
      description: "A place in the list, from `next` or `previous`.",
      examples: ["b2xkZXI6MTc5NTUyMTYwMDAwMDowMGYzazl4Mm00dDZ2OHkwYTFiMmMzZDRlNQ"],
    }),
  created_after: time("Only those that were created later."),
  created_before: time("Only those that were created earlier."),
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
        prior_rule: 2,
        prior_weight: 1,
      },
    },
  },
  draft: { summary: "A quick draft", value: { input: { prompt: "red apple", preset: "draft" } } },
  webhook: {
    summary: "Told by a webhook",
    value: {
      input: { prompt: "red apple", num_previews: 2 },
      webhook: "https://example.com/hook",
      webhook_events_filter: ["completed"],
    },
  },
  prompts: {
    summary: "Several prompts",
    value: { input: { prompt: ["red apple", "green apple"], seed: 1 } },
  },
});

const replayed = json(predictionSchema, "The prediction that this `Idempotency-Key` has made before.");
const created = json(predictionSchema, "Created; with `Prefer: wait`, as it is at the end of the wait.");

export const predictionOperations: readonly Operation[] = [
  {
    method: "post",
    path: "/v1/predictions",
    operationId: "createPrediction",
    summary: "Make images",
    description: "Replicate's form: answers at once, or with `Prefer: wait` when the images are done.",
    tags,
    ...KEYED,
    request: { headers: createHeaders, body: createBody },
    responses: { 200: replayed, 201: created, ...problems(...CREATE_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/predictions",
    operationId: "listPredictions",
    summary: "List your predictions",
    description: "Newest first, in pages that `next` and `previous` lead to.",
    tags,
    ...KEYED,
    request: { query: listQuery },
    responses: { 200: json(predictionListSchema, "A page of them."), ...problems(422, ...KEY_ERRORS) },
  },
  {
    method: "post",
    path: "/v1/models/{owner}/{name}/predictions",
    operationId: "createModelPrediction",
    summary: "Make images with a model",
    description: "The same with the model in the path. `version` and `model` are left out.",
    tags,
    ...KEYED,
    request: {
      params: z.object({ owner: PATH.owner, name: PATH.name }),
      headers: createHeaders,
      body: createBody,
    },
    responses: { 200: replayed, 201: created, ...modelProblems(404, ...CREATE_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/predictions/{id}",
    operationId: "getPrediction",
    summary: "Get a prediction",
    tags,
    ...KEYED,
    request: { params: z.object({ id: PATH.id }) },
    responses: {
      200: json(predictionSchema, "The prediction as it is now."),
      ...problems(404, ...KEY_ERRORS),
    },
  },
  {
    method: "post",
    path: "/v1/predictions/{id}/cancel",
    operationId: "cancelPrediction",
    summary: "Cancel a prediction",
    description: "Final at once, and frees the worker at its next step. One that has ended stays as it is.",
    tags,
    ...KEYED,
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
    responses: { 200: eventStream, 204: noMoreEvents, ...problems(404, ...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/streams/{id}/{capability}",
    operationId: "streamPrediction",
    summary: "Follow a prediction without a key",
    description: `A prediction's \`urls.stream\`. ${EVENTS}\n\nHere an \`output\` is the bare URL, as Replicate's client reads it.`,
    tags,
    ...OPEN,
    request: { params: z.object({ id: PATH.id, capability: PATH.capability }), query: lastEventId },
    responses: { 200: eventStream, 204: noMoreEvents, ...problems(404, 503) },
  },
  {
    method: "get",
    path: "/v1/files/{capability}/{name}",
    operationId: "getFile",
    summary: "Get an image",
    description: "The URLs of a prediction's `output`. They need no key, and expire.",
    tags,
    ...OPEN,
    request: {
      params: z.object({
        capability: PATH.capability,
        name: z
          .string()
          .regex(/^\d{1,3}\.(?:png|jpg|webp)$/)
          .openapi({ description: "The image's place in the prediction.", examples: ["0.png"] }),
      }),
    },
    responses: {
      200: {
        description: "The image.",
        content: Object.fromEntries(
          ["image/png", "image/webp", "image/jpeg"].map((type) => [
            type,
            { schema: { type: "string" as const, contentMediaType: type } },
          ]),
        ),
      },
      304: { description: "It is what `If-None-Match` says." },
      ...problems(404, 412),
    },
  },
];
