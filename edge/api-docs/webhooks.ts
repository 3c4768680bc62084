// Operations: webhooks.

import { z } from "@hono/zod-openapi";
import { queuedSchema, rotatedSecretSchema, webhookAttemptsSchema, webhookSecretSchema } from "./answers.ts";
import { json, KEY_ERRORS, KEYED, type Operation, PATH, problems } from "./operation.ts";

const tags = ["Webhooks"];
const ofPrediction = { params: z.object({ id: PATH.id }) };

export const webhookOperations: readonly Operation[] = [
  {
    method: "get",
    path: "/v1/webhooks/default/secret",
    operationId: "getWebhookSecret",
    summary: "Get the signing secret",
    tags,
    ...KEYED,
    responses: { 200: json(webhookSecretSchema, "The current secret."), ...problems(...KEY_ERRORS) },
  },
  {
    method: "post",
    path: "/v1/webhooks/default/secret/rotate",
    operationId: "rotateWebhookSecret",
    summary: "Rotate the signing secret",
    tags,
    ...KEYED,
    responses: { 200: json(rotatedSecretSchema, "The new secret."), ...problems(...KEY_ERRORS) },
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
