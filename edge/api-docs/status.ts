// Operations: health, and the status of the service.

import { z } from "@hono/zod-openapi";
import { healthSchema } from "./answers.ts";
import { json, KEY_ERRORS, KEYED, OPEN, type Operation, problems } from "./operation.ts";

const tags = ["Service"];
const time = z.iso.datetime();
const version = z.string().describe("SHA-256 of the checkpoint's files.");

const common = {
  status: z
    .enum(["operational", "degraded", "unavailable"])
    .describe(
      "`unavailable`: no images are made now; `degraded`: a version that gets requests has no worker, or a hub does not answer or is cut off.",
    ),
  checked_at: time.describe("At most some seconds ago."),
  nats: z
    .enum(["connected", "unavailable", "unreachable", "unknown"])
    .describe("Whether the queue takes jobs: `unavailable` if it can be reached and does not."),
  hubs: z
    .strictObject({
      total: z.int(),
      answering: z.int(),
      cut_off: z.int().describe("Those with predictions that have lost their connection to the queue."),
    })
    .describe("The objects that keep predictions."),
};
const workers = z
  .enum(["alive", "none", "unknown"])
  .describe("Whether a worker waits for its jobs, or has lately said something of one.");
const secondsPerImage = z
  .number()
  .nullable()
  .describe(
    "What an image takes with the default settings, by the median of recent runs; null if there were none.",
  );

export const statusSchema = z
  .strictObject({
    object: z.literal("status"),
    ...common,
    models: z
      .array(
        z.strictObject({
          model: z.string().describe("`owner/name`"),
          version,
          workers,
          waiting_at_least: z
            .literal([0, 1, 5, 20, 100, 1_000])
            .describe(
              "How many predictions wait, of all owners: the largest of these numbers that they reach.",
            ),
          seconds_per_image: secondsPerImage,
        }),
      )
      .describe("The versions that get requests."),
  })
  .openapi("Status");

export const queueSchema = z
  .strictObject({
    object: z.literal("list"),
    ...common,
    data: z
      .array(
        z.strictObject({
          model: z.string().describe("`owner/name`"),
          version,
          share: z
            .number()
            .min(0)
            .max(1)
            .describe("The part of the requests for the model's name that it gets."),
          workers,
          workers_with_room: z
            .int()
            .nullable()
            .describe("Workers that wait for its jobs; null if the queue cannot be looked at."),
          last_heard_at: time.nullable().describe("When a worker waited, or said something of a prediction."),
          running: z.int().describe("Predictions of all owners that are being made."),
          waiting: z
            .strictObject({ high: z.int(), normal: z.int(), low: z.int() })
            .describe("Predictions of all owners that wait, by priority."),
          seconds_per_image_step: z
            .number()
            .nullable()
            .describe("The median of recent runs; null if there were none."),
          seconds_per_image: secondsPerImage,
          announced_at: time.describe("When a worker last announced it."),
          slots: z
            .int()
            .nullable()
            .describe("Images that the GPU of the worker that announced it makes at once; null without one."),
        }),
      )
      .describe("All versions that are announced and not retired."),
  })
  .openapi("Queue");

export const statusOperations: readonly Operation[] = [
  {
    method: "get",
    path: "/healthz",
    operationId: "getHealth",
    summary: "Check whether images can be made now",
    description: "For probes. People, and other services, have `/v1/status`.",
    tags,
    ...OPEN,
    responses: {
      200: json(healthSchema, "NATS is connected and a model has been announced."),
      503: json(healthSchema, "Something is missing; the body says what."),
    },
  },
  {
    method: "get",
    path: "/v1/status",
    operationId: "getStatus",
    summary: "Get the status of the service",
    description:
      "For everybody: whether workers serve the models, roughly how many predictions wait, and how long an image takes. " +
      "It is 200 whatever the status is, may be cached for some seconds, and says nothing of any owner. The page is `/status`.",
    tags,
    ...OPEN,
    responses: { 200: json(statusSchema, "The status.") },
  },
  {
    method: "get",
    path: "/v1/queue",
    operationId: "getQueue",
    summary: "Get what waits, and who works",
    description:
      "Of every version of a model its workers, what waits by priority, and its pace. Covers all owners, so it requires a key " +
      "with the scope `metrics`.",
    tags,
    ...KEYED,
    responses: { 200: json(queueSchema, "All versions."), ...problems(...KEY_ERRORS) },
  },
];
