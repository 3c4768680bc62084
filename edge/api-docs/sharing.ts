// Operations: links by which others see a prediction.

import { z } from "@hono/zod-openapi";
import { sharedPredictionSchema, shareSchema } from "./answers.ts";
import { images, json, KEY_ERRORS, KEYED, OPEN, type Operation, PATH, problems } from "./operation.ts";

const tags = ["Predictions"];
const shared = { id: PATH.id, capability: PATH.capability };

export const sharingOperations: readonly Operation[] = [
  {
    method: "post",
    path: "/v1/predictions/{id}/share",
    operationId: "sharePrediction",
    summary: "Share a prediction",
    description:
      "Makes a link by which anybody sees its input, its state and its images, without a key and without what it started from. " +
      "Sent again, it answers the same link, until that is taken back.",
    tags,
    ...KEYED,
    request: { params: z.object({ id: PATH.id }) },
    responses: { 200: json(shareSchema, "The link."), ...problems(404, 429, ...KEY_ERRORS) },
  },
  {
    method: "delete",
    path: "/v1/predictions/{id}/share",
    operationId: "unsharePrediction",
    summary: "Stop sharing a prediction",
    description: "The link, and those to its images under it, work no more. Sharing it again makes another.",
    tags,
    ...KEYED,
    request: { params: z.object({ id: PATH.id }) },
    responses: { 204: { description: "It is not shared." }, ...problems(404, 429, ...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/shared/{id}/{capability}",
    operationId: "getShared",
    summary: "Get a shared prediction",
    tags,
    ...OPEN,
    request: { params: z.object(shared) },
    responses: { 200: json(sharedPredictionSchema, "The prediction."), ...problems(404, 429) },
  },
  {
    method: "get",
    path: "/v1/shared/{id}/{capability}/{name}",
    operationId: "getSharedImage",
    summary: "Get an image of a shared prediction",
    tags,
    ...OPEN,
    request: {
      params: z.object({
        ...shared,
        name: z.string().openapi({ description: "The last part of its URL.", examples: ["0.png"] }),
      }),
    },
    responses: { 200: { description: "The image.", content: images }, ...problems(404, 412, 429) },
  },
];
