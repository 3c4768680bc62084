// Operation: the audit log.

import { z } from "@hono/zod-openapi";
import { AUDIT_ACTIONS } from "../prediction/accounting/audit.ts";
import { MAX_ENTRIES } from "../routes/accounting/audit.ts";
import { json, KEY_ERRORS, KEYED, type Operation, problems } from "./operation.ts";

export const auditSchema = z
  .strictObject({
    object: z.literal("list"),
    data: z.array(
      z.strictObject({
        at: z.iso.datetime(),
        key: z.string().describe("The key that acted, by the first digits of its hash."),
        action: z.enum(AUDIT_ACTIONS),
        object: z.string().nullable().describe("The id of the prediction, if it is about one."),
        request_id: z.string().describe("The x-request-id of the request."),
      }),
    ),
    next: z.url().nullable().describe("The URL of older entries, if there are any."),
  })
  .openapi("Audit");

export const auditOperation: Operation = {
  method: "get",
  path: "/v1/audit",
  operationId: "getAudit",
  summary: "See what keys of yours have done that concerns others",
  description:
    "Newest first: the secret of webhooks read or rotated, predictions canceled or deleted with another key than made them, links by " +
    "which others see them made and taken back. Needs a key with the scope `admin`.",
  tags: ["Usage"],
  ...KEYED,
  request: {
    query: z.object({
      limit: z
        .string()
        .optional()
        .openapi({
          type: "integer",
          minimum: 1,
          maximum: MAX_ENTRIES,
          description: `Entries per page; defaults to ${MAX_ENTRIES}.`,
          examples: [20],
        }),
      cursor: z
        .string()
        .optional()
        .openapi({ description: "From `next`.", examples: ["17"] }),
    }),
  },
  responses: { 200: json(auditSchema, "A page of entries."), ...problems(422, 429, ...KEY_ERRORS) },
};
