// Operations of Replicate's resources beside predictions and models.

import { z } from "@hono/zod-openapi";
import { versionSchema } from "../api-docs/answers.ts";
import {
  CREATE_ERRORS,
  json,
  KEY_ERRORS,
  KEYED,
  type Operation,
  PATH,
  problems,
} from "../api-docs/operation.ts";
import { creation } from "../api-docs/predictions.ts";
import {
  collectionListSchema,
  deploymentListSchema,
  deploymentSchema,
  hardwareListSchema,
  versionListSchema,
} from "./schema.ts";

export const replicateTag = {
  name: "Replicate",
  description: "Replicate's other resources, for its clients: versions, deployments, hardware, collections.",
};
const tags = [replicateTag.name];
const named = { owner: PATH.owner, name: PATH.name };
const version = z.string().openapi({
  description: "SHA-256 of the checkpoint's files.",
  examples: ["0c".repeat(32)],
});

/** A list or a resource that a key may read. */
const read = (
  path: string,
  operationId: string,
  summary: string,
  schema: z.ZodType,
  params?: z.ZodObject,
  description?: string,
): Operation => ({
  method: "get",
  path,
  operationId,
  summary,
  ...(description === undefined ? {} : { description }),
  tags,
  ...KEYED,
  ...(params === undefined ? {} : { request: { params } }),
  responses: {
    200: json(schema, "The answer."),
    ...problems(...(params === undefined ? KEY_ERRORS : ([404, ...KEY_ERRORS] as const))),
  },
});

export const replicateOperations: readonly Operation[] = [
  read(
    "/v1/models/{owner}/{name}/versions",
    "listVersions",
    "List a model's versions",
    versionListSchema,
    z.object(named),
    "The newest first: those that workers have announced and operators have not retired.",
  ),
  read(
    "/v1/models/{owner}/{name}/versions/{version}",
    "getVersion",
    "Get a version of a model",
    versionSchema,
    z.object({ ...named, version }),
  ),
  read(
    "/v1/deployments",
    "listDeployments",
    "List the deployments",
    deploymentListSchema,
    undefined,
    "Every model has one, of its own name. They are neither made nor changed through the API.",
  ),
  read(
    "/v1/deployments/{owner}/{name}",
    "getDeployment",
    "Get a deployment",
    deploymentSchema,
    z.object(named),
  ),
  {
    method: "post",
    path: "/v1/deployments/{owner}/{name}/predictions",
    operationId: "createDeploymentPrediction",
    summary: "Create a prediction with a deployment",
    description: "The same as with the model of this name; `version` and `model` must be omitted.",
    tags,
    ...KEYED,
    request: { params: z.object(named), ...creation.request },
    responses: { ...creation.responses, ...problems(404, ...CREATE_ERRORS) },
  },
  read(
    "/v1/hardware",
    "listHardware",
    "List the hardware",
    hardwareListSchema,
    undefined,
    "Always empty: there is none to choose from.",
  ),
  read(
    "/v1/collections",
    "listCollections",
    "List the collections",
    collectionListSchema,
    undefined,
    "Always empty: there are none.",
  ),
];
