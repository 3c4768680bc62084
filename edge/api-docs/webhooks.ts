// Webhooks, described.

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
    summary: "Get the secret that signs webhooks",
    tags,
    ...KEYED,
    responses: { 200: json(webhookSecretSchema, "The newest secret."), ...problems(...KEY_ERRORS) },
  },
  {
    method: "post",
    path: "/v1/webhooks/default/secret/rotate",
    operationId: "rotateWebhookSecret",
    summary: "Change the secret that signs webhooks",
    tags,
    ...KEYED,
    responses: { 200: json(rotatedSecretSchema, "The new secret."), ...problems(...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/predictions/{id}/webhook-attempts",
    operationId: "getWebhookAttempts",
    summary: "See what came of a prediction's webhooks",
    tags,
    ...KEYED,
    request: ofPrediction,
    responses: { 200: json(webhookAttemptsSchema, "Every attempt."), ...problems(404, ...KEY_ERRORS) },
  },
  {
    method: "post",
    path: "/v1/predictions/{id}/webhook-attempts/redeliver",
    operationId: "redeliverWebhook",
    summary: "Send a prediction's end once more",
    description: "By the whole schedule of retries, as if it had just ended.",
    tags,
    ...KEYED,
    request: ofPrediction,
    responses: { 202: json(queuedSchema, "It will be sent."), ...problems(404, ...KEY_ERRORS) },
  },
];
