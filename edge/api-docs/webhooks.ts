// Operations: webhooks.

import { z } from "@hono/zod-openapi";
import { testWebhookSchema } from "../service/schemas.ts";
import { queuedSchema, rotatedSecretSchema, webhookAttemptsSchema, webhookSecretSchema } from "./answers.ts";
import {
  DESTRUCTIVE,
  json,
  jsonBody,
  KEY_ERRORS,
  KEYED,
  type Operation,
  PATH,
  problems,
} from "./operation.ts";

const tags = ["Webhooks"];
const ofPrediction = { params: z.object({ id: PATH.id }) };

export const testedWebhookSchema = z
  .strictObject({
    id: z.string().describe("The webhook-id header."),
    delivered: z.boolean().describe("Whether the receiver answered with a 2xx in time."),
    status: z.int().nullable().describe("Status of the receiver's response; null without one."),
    error: z.string().nullable(),
    duration_ms: z.number(),
  })
  .openapi("TestedWebhook");

export const webhookOperations: readonly Operation[] = [
  {
    method: "get",
    path: "/v1/webhooks/default/secret",
    operationId: "getWebhookSecret",
    summary: "Get the signing secret",
    tags,
    ...KEYED,
    responses: { 200: json(webhookSecretSchema, "The current secret."), ...problems(429, ...KEY_ERRORS) },
  },
  {
    method: "post",
    path: "/v1/webhooks/default/secret/rotate",
    operationId: "rotateWebhookSecret",
    summary: "Rotate the signing secret",
    tags,
    ...KEYED,
    ...DESTRUCTIVE,
    responses: { 200: json(rotatedSecretSchema, "The new secret."), ...problems(429, ...KEY_ERRORS) },
  },
  {
    method: "post",
    path: "/v1/webhooks/default/test",
    operationId: "testWebhook",
    summary: "Send an event to try a receiver",
    description:
      'A `completed` event of a prediction that never was (`"test": true`, and its id is `test`), signed like any other, sent once ' +
      "and now. The answer says what the receiver's was. Counts as a redelivery.",
    tags,
    ...KEYED,
    request: {
      body: jsonBody(testWebhookSchema, {
        one: { summary: "A receiver", value: { url: "https://example.com/hook" } },
      }),
    },
    responses: {
      200: json(testedWebhookSchema, "What came of it, whether it was delivered or not."),
      ...problems(400, 413, 415, 422, 429, ...KEY_ERRORS),
    },
  },
  {
    method: "get",
    path: "/v1/predictions/{id}/webhook-attempts",
    operationId: "getWebhookAttempts",
    summary: "List the delivery attempts of a prediction's webhooks",
    tags,
    ...KEYED,
    request: ofPrediction,
    responses: {
      200: json(webhookAttemptsSchema, "All deliveries and their attempts."),
      ...problems(404, 429, ...KEY_ERRORS),
    },
  },
  {
    method: "post",
    path: "/v1/predictions/{id}/webhook-attempts/redeliver",
    operationId: "redeliverWebhook",
    summary: "Redeliver a prediction's `completed` event",
    description: "With the full schedule of retries, as if the prediction had just ended.",
    tags,
    ...KEYED,
    request: ofPrediction,
    responses: { 202: json(queuedSchema, "It will be sent."), ...problems(404, 429, ...KEY_ERRORS) },
  },
];
