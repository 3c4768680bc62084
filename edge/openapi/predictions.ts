// Replicate's predictions resource, described.

import { z } from "@hono/zod-openapi";
import { createPredictionSchema } from "../schemas.ts";
import { predictionSchema } from "./answers.ts";
import {
  BODY_ERRORS,
  json,
  jsonBody,
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

const prefer = z.object({
  prefer: z
    .string()
    .optional()
    .openapi({
      description:
        "`wait` or `wait=5`: answer when the images are done, at the latest after 60 or 5 seconds.",
      examples: ["wait=30"],
    }),
});

const createBody = jsonBody(createPredictionSchema.openapi("CreatePrediction"), {
  prompt: { summary: "Just a prompt", value: { input: { prompt: "grinning face, flat style" } } },
  settings: {
    summary: "With settings",
    value: {
      input: {
        prompt: "grinning face, flat style",
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
  prompts: {
    summary: "Several prompts",
    value: { input: { prompt: ["red apple", "green apple"], seed: 1 } },
  },
});

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
    request: { headers: prefer, body: createBody },
    responses: { 201: created, ...problems(...BODY_ERRORS) },
  },
  {
    method: "post",
    path: "/v1/models/{owner}/{name}/predictions",
    operationId: "createModelPrediction",
    summary: "Make images with a model",
    description: "The same with the model in the path. `version` and `model` are left out.",
    tags,
    ...KEYED,
    request: { params: z.object({ owner: PATH.owner, name: PATH.name }), headers: prefer, body: createBody },
    responses: { 201: created, ...modelProblems(404, ...BODY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/predictions/{id}",
    operationId: "getPrediction",
    summary: "Get a prediction",
    tags,
    ...KEYED,
    request: { params: z.object({ id: PATH.id }) },
    responses: { 200: json(predictionSchema, "The prediction as it is now."), ...problems(401, 404, 503) },
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
    responses: { 200: json(predictionSchema, "The prediction."), ...problems(401, 404, 503) },
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
    responses: { 200: eventStream, 204: noMoreEvents, ...problems(401, 404, 503) },
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
    responses: { 200: eventStream, 204: noMoreEvents, ...problems(404) },
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
      ...problems(404),
    },
  },
];
