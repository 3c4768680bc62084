// Answers of Replicate's resources beside predictions and models.

import { z } from "@hono/zod-openapi";
import { userSchema, versionSchema } from "../api-docs/answers.ts";

const page = <T extends z.ZodType>(result: T) =>
  z.strictObject({ previous: z.null(), next: z.null(), results: z.array(result) });

export const versionListSchema = page(versionSchema).openapi("VersionList");

export const deploymentSchema = z
  .strictObject({
    owner: z.string(),
    name: z.string(),
    current_release: z.strictObject({
      number: z.int().describe("How many versions of the model are available."),
      model: z.string().describe("`owner/name`"),
      version: z
        .string()
        .describe(
          "The version that serves the name, or most of its requests: SHA-256 of the checkpoint's files.",
        ),
      created_at: z.iso.datetime(),
      created_by: userSchema.describe("The model's owner."),
      configuration: z
        .strictObject({
          hardware: z.literal("unknown"),
          min_instances: z.literal(0),
          max_instances: z.literal(0),
        })
        .describe("Placeholders for clients that require them: operators start workers, not the API."),
    }),
  })
  .openapi("Deployment");

export const deploymentListSchema = page(deploymentSchema).openapi("DeploymentList");

export const hardwareListSchema = z
  .array(z.never())
  .max(0)
  .openapi("HardwareList", { type: "array", items: {}, maxItems: 0 });

export const collectionListSchema = z
  .strictObject({
    previous: z.null(),
    next: z.null(),
    results: z.array(z.never()).max(0).openapi({ type: "array", items: {}, maxItems: 0 }),
  })
  .openapi("CollectionList");
