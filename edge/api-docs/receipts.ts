// Operations: receipts of images.

import { z } from "@hono/zod-openapi";
import { receiptFileSchema, receiptKeysSchema } from "./answers.ts";
import { json, KEY_ERRORS, KEYED, OPEN, type Operation, PATH, problems } from "./operation.ts";

const tags = ["Receipts"];

export const receiptOperations: readonly Operation[] = [
  {
    method: "get",
    path: "/v1/predictions/{id}/receipt",
    operationId: "getReceipt",
    summary: "Get an image's receipt",
    description:
      "What the image was made with and a hash of its tokens after every step, signed with the service's key, and these tokens: " +
      "as `vqd verify` reads it. It can be had while the prediction's steps are kept.",
    tags,
    ...KEYED,
    request: {
      params: z.object({ id: PATH.id }),
      query: z.object({
        index: z
          .string()
          .optional()
          .openapi({
            type: "integer",
            minimum: 0,
            maximum: 999,
            description: "Which of the prediction's images; defaults to 0.",
            examples: [0],
          }),
      }),
    },
    responses: {
      200: json(receiptFileSchema, "The receipt."),
      ...problems(404, 409, 422, 429, ...KEY_ERRORS),
    },
  },
  {
    method: "get",
    path: "/.well-known/vqd-receipts.json",
    operationId: "getReceiptKeys",
    summary: "Get the key that receipts are signed with",
    description: "The public half, as a JSON Web Key Set. There is none if the service signs no receipts.",
    tags,
    ...OPEN,
    responses: { 200: json(receiptKeysSchema, "The key."), ...problems(404, 503) },
  },
];
