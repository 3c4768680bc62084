// Operations: what owners have used.

import { z } from "@hono/zod-openapi";
import { DEFAULT_LINES, MAX_LINES } from "../routes/accounting/export.ts";
import { MAX_DAYS } from "../routes/accounting/usage.ts";
import { quotaSchema } from "./answers.ts";
import { json, KEY_ERRORS, KEYED, type Operation, problems } from "./operation.ts";

const date = z.iso.date();
const dateQuery = (description: string, example: string) =>
  z
    .string()
    .optional()
    .openapi({
      description,
      anyOf: [{ format: "date" }, { maxLength: 0 }],
      examples: [example],
    });

export const usageSchema = z
  .strictObject({
    object: z.literal("list"),
    from: date,
    to: date,
    data: z
      .array(
        z.strictObject({
          date: date.describe("The UTC day on which the predictions ended."),
          model: z.string().describe("`owner/name`"),
          predictions: z.int().describe("That ended, however they did."),
          images: z.int().describe("That were delivered."),
          steps: z
            .int()
            .describe("Made, of all images: 25 steps of 4 images are 100. One that is repeated counts once."),
          gpu_seconds: z.number().describe("For which workers had the predictions."),
        }),
      )
      .describe("By day, then model; none for days without predictions."),
    quotas: z.array(quotaSchema).describe("Monthly limits of the key, and how far its owner is now."),
  })
  .openapi("Usage");

export const usageOperations: readonly Operation[] = [
  {
    method: "get",
    path: "/v1/usage",
    operationId: "getUsage",
    summary: "See what you have used",
    description:
      "Predictions, images, steps and the time of workers, by day and model, of all keys of the owner.",
    tags: ["Usage"],
    ...KEYED,
    request: {
      query: z.object({
        from: dateQuery(
          `The first day, UTC; by default that of the month. At most ${MAX_DAYS} days can be asked for at once.`,
          "2026-11-01",
        ),
        to: dateQuery("The last day, UTC; by default today.", "2026-11-30"),
      }),
    },
    responses: { 200: json(usageSchema, "What was used."), ...problems(422, 429, ...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/usage/export",
    operationId: "exportUsage",
    summary: "Export what all owners have used",
    description:
      "A line of JSON for each prediction that has ended, of all owners, each exactly once. The header `Link` leads to the lines " +
      "that follow, also to those that have yet to be written. Needs a key with the scope `billing`.",
    tags: ["Usage"],
    ...KEYED,
    request: {
      query: z.object({
        cursor: z
          .string()
          .optional()
          .openapi({
            description: "Where to go on, from `Link`; by default at the first line.",
            examples: ["1024"],
          }),
        limit: z
          .string()
          .optional()
          .openapi({
            type: "integer",
            minimum: 1,
            maximum: MAX_LINES,
            description: `Lines at most; defaults to ${DEFAULT_LINES}.`,
            examples: [100],
          }),
      }),
    },
    responses: {
      200: {
        description:
          "Lines with `id`, `owner`, `key`, `model`, `version`, `status`, `created_at`, `completed_at`, `images`, `steps`, `gpu_seconds`.",
        headers: {
          link: {
            schema: { type: "string" },
            description: "The URL of the lines that follow, as `rel=next`.",
          },
        },
        content: { "application/x-ndjson": { schema: z.string() } },
      },
      ...problems(422, ...KEY_ERRORS),
    },
  },
];
