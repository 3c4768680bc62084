// Parts shared by the descriptions of operations, so that each takes only a few lines.

import { type RouteConfig, z } from "@hono/zod-openapi";
import { CAPABILITY_PATTERN, PREDICTION_ID_PATTERN } from "@vqd/shared/ids.ts";
import { IMAGE_TYPES } from "../prediction/image-type.ts";
import { OWN_ID_PATTERN } from "../prediction/own-id.ts";
import { modelProblemSchema, openaiErrorSchema, problemSchema } from "./answers.ts";

type Schema = z.ZodType;

/** Error statuses, and when they occur. */
const ERRORS = {
  400: "The body is not valid JSON",
  401: "The API key is missing or invalid",
  403: "The key lacks the scope, or may not ask for this",
  404: "The resource does not exist",
  409: "The prediction was canceled in the meantime, or has no receipt; the response says why",
  410: "The images of the earlier request with this `Idempotency-Key` have expired",
  412: "The file does not match `If-Match`",
  413: "The body is too large",
  415: "The content type is not that of the body's schema, or the content encoding neither gzip nor deflate",
  422: "A field is invalid; the response names it",
  429: "A limit of the key's owner is reached: of requests per minute, live predictions, what is stored, or a month's quota; see retry-after",
  500: "The model failed",
  503:
    "Currently unavailable: the queue is full or unreachable, no worker has announced a model, too many event streams " +
    "are open, or no API key is configured",
  504: "The prediction did not finish in time",
} as const;

type ErrorStatus = keyof typeof ERRORS;

export const errorAnswers = (statuses: readonly ErrorStatus[], type: string, schema: Schema) =>
  Object.fromEntries(
    statuses.map((status) => [status, { description: ERRORS[status], content: { [type]: { schema } } }]),
  );

/** Errors in the three dialects of http/error-answer.ts. */
export const problems = (...statuses: ErrorStatus[]) =>
  errorAnswers(statuses, "application/problem+json", problemSchema);
export const openaiErrors = (...statuses: ErrorStatus[]) =>
  errorAnswers(statuses, "application/json", openaiErrorSchema);
export const modelProblems = (...statuses: ErrorStatus[]) =>
  errorAnswers(statuses, "application/problem+json", modelProblemSchema);

/** Errors of any operation that requires a key. */
export const KEY_ERRORS = [401, 403, 503] as const;
/** Errors of operations that make images. */
export const CREATE_ERRORS = [400, ...KEY_ERRORS, 413, 415, 422, 429] as const;

export const json = (schema: Schema, description: string) => ({
  description,
  content: { "application/json": { schema } },
});

/** A JSON body, with examples by name; the API accepts each of them. */
export const jsonBody = (schema: Schema, examples: Record<string, { summary: string; value: unknown }>) => ({
  required: true,
  content: { "application/json": { schema, examples } },
});

/** A form, with examples by name; in those the value of a file is its name. */
export const form = (schema: Schema, examples: Record<string, { summary: string; value: unknown }>) => ({
  required: true,
  content: { "multipart/form-data": { schema, examples } },
});

/** The content of an answer that is an image. */
export const images = Object.fromEntries(
  Object.values(IMAGE_TYPES).map((type) => [
    type,
    { schema: { type: "string" as const, contentMediaType: type } },
  ]),
);

/** An operation that destroys something, or cannot be taken back; DELETE is one in any case. */
export const DESTRUCTIVE = { "x-destructive": true } as const;

const text = (description: string, example: string) =>
  z.string().openapi({ description, examples: [example] });

export const PATH = {
  fileId: z
    .string()
    .regex(PREDICTION_ID_PATTERN)
    .openapi({ description: "The file's id.", examples: ["00f3k9x2m4t6v8y0a1b2c3d4e5"] }),
  id: z
    .string()
    .regex(OWN_ID_PATTERN)
    .openapi({
      description: "A prediction's id, or the caller's own for it.",
      examples: ["00f3k9x2m4t6v8y0a1b2c3d4e5"],
    }),
  ownId: z
    .string()
    .regex(OWN_ID_PATTERN)
    .openapi({
      description:
        "An id of the caller's own, which no other of the owner's predictions has: letters, digits, dots, underscores and hyphens.",
      examples: ["order-1024.cover"],
    }),
  owner: text("The model's owner.", "vqd"),
  name: text("The model's name, or `name:version` for a specific version.", "scenes"),
  capability: z
    .string()
    .regex(CAPABILITY_PATTERN)
    .openapi({
      description: "The unguessable part of the URL, which takes the place of a key.",
      examples: ["0a1b2c3d4e5f6g7h8j9kamanbpcqdres"],
    }),
} as const;

export const idempotencyKey = z
  .string()
  .optional()
  .openapi({
    description:
      "A request sent again with the same key returns the same prediction instead of creating another, even if it " +
      "failed. A request that was refused, without creating a prediction, can be sent again.",
    examples: ["6f1d3c1e-9f0b-4d55-8d53-3c0c0d3a5f6a"],
  });

export const cancelAfter = z
  .string()
  .optional()
  .openapi({
    description:
      "From 1s to 24h, after which the prediction ends: as `aborted` if it has not started, else as `canceled`.",
    examples: ["2m"],
  });

const time = (description: string) =>
  z
    .string()
    .optional()
    .openapi({
      description: `${description} Empty for any time.`,
      anyOf: [{ format: "date-time" }, { maxLength: 0 }],
      examples: ["2026-11-23T12:00:00Z"],
    });

/** Of a page of a list. */
export const listQuery = z.object({
  limit: z
    .string()
    .optional()
    .openapi({
      type: "integer",
      minimum: 1,
      maximum: 100,
      description: "Entries per page; defaults to 100.",
      examples: [20],
    }),
  cursor: z
    .string()
    .optional()
    .openapi({
      description: "A position in the list, from `next` or `previous`.",
      examples: ["b2xkZXI6MTc5NTUyMTYwMDAwMDowMGYzazl4Mm00dDZ2OHkwYTFiMmMzZDRlNQ"],
    }),
  created_after: time("Only those created after this time."),
  created_before: time("Only those created before this time."),
});

/** Security of operations that require a key, and of open ones. */
export const KEYED: Pick<RouteConfig, "security"> = { security: [{ key: [] }] };
export const OPEN: Pick<RouteConfig, "security"> = { security: [] };

export type Operation = RouteConfig;
