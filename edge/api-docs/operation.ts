// The parts that operations have in common, so that describing one takes a few lines.

import { type RouteConfig, z } from "@hono/zod-openapi";
import { PREDICTION_ID_PATTERN } from "@vqd/shared/ids.ts";
import { modelProblemSchema, openaiErrorSchema, problemSchema } from "./answers.ts";

type Schema = z.ZodType;

/** Statuses of errors, and when they come. */
const ERRORS = {
  400: "The body is not valid JSON",
  401: "No valid key",
  403: "The key may not do this",
  404: "There is nothing of that name",
  409: "The prediction was canceled meanwhile",
  410: "The images that this `Idempotency-Key` has made have expired",
  412: "It is not what `If-Match` says",
  413: "The body is too large",
  415: "The body is not JSON by its content type",
  422: "A field is wrong; the answer names it",
  429: "The key's limit of requests, or of predictions at once, is reached; see retry-after",
  500: "The model failed",
  503:
    "Not now: the queue is full or unreachable, no worker has announced a model, too many event streams are open, " +
    "or no key is configured",
  504: "No result in time",
} as const;

type ErrorStatus = keyof typeof ERRORS;

const answers = (statuses: readonly ErrorStatus[], type: string, schema: Schema) =>
  Object.fromEntries(
    statuses.map((status) => [status, { description: ERRORS[status], content: { [type]: { schema } } }]),
  );

/** Errors in the three dialects of http/error-answer.ts. */
export const problems = (...statuses: ErrorStatus[]) =>
  answers(statuses, "application/problem+json", problemSchema);
export const openaiErrors = (...statuses: ErrorStatus[]) =>
  answers(statuses, "application/json", openaiErrorSchema);
export const modelProblems = (...statuses: ErrorStatus[]) =>
  answers(statuses, "application/problem+json", modelProblemSchema);

/** What can be wrong with any request that has a key. */
export const KEY_ERRORS = [401, 403, 503] as const;
/** What can be wrong with one that makes images. */
export const CREATE_ERRORS = [400, ...KEY_ERRORS, 413, 415, 422, 429] as const;

export const json = (schema: Schema, description: string) => ({
  description,
  content: { "application/json": { schema } },
});

/** A JSON body; each example is a body that the API accepts, by a short name. */
export const jsonBody = (schema: Schema, examples: Record<string, { summary: string; value: unknown }>) => ({
  required: true,
  content: { "application/json": { schema, examples } },
});

const text = (description: string, example: string) =>
  z.string().openapi({ description, examples: [example] });

export const PATH = {
  id: z
    .string()
    .regex(PREDICTION_ID_PATTERN)
    .openapi({
      description: "A prediction's id.",
      examples: ["00f3k9x2m4t6v8y0a1b2c3d4e5"],
    }),
  owner: text("The model's owner.", "vqd"),
  name: text("The model's name; `name:version` means that version.", "emoji"),
  capability: z
    .string()
    .regex(/^[0-9a-hjkmnp-tv-z]{32}$/)
    .openapi({
      description: "The unguessable part, which stands in for a key.",
      examples: ["0a1b2c3d4e5f6g7h8j9kamanbpcqdres"],
    }),
} as const;

export const idempotencyKey = z
  .string()
  .optional()
  .openapi({
    description:
      "Sent again with the same key, a request gives the same prediction instead of another one, also if that has " +
      "failed. What was refused before it became a prediction can be sent again.",
    examples: ["6f1d3c1e-9f0b-4d55-8d53-3c0c0d3a5f6a"],
  });

export const cancelAfter = z
  .string()
  .optional()
  .openapi({
    description: "From 1s to 24h: after that time it ends, `aborted` if it has not started, else `canceled`.",
    examples: ["2m"],
  });

/** Needs a key; the others are open. */
export const KEYED: Pick<RouteConfig, "security"> = { security: [{ key: [] }] };
export const OPEN: Pick<RouteConfig, "security"> = { security: [] };

export type Operation = RouteConfig;
