// Operations: the account, pages, metrics and the OpenAPI document itself.

import { z } from "@hono/zod-openapi";
import { accountSchema } from "./answers.ts";
import { json, KEY_ERRORS, KEYED, OPEN, type Operation, problems } from "./operation.ts";

const tags = ["Service"];
const page = (description: string) => ({
  description,
  content: { "text/html": { schema: z.string() } },
});

const file = (
  path: string,
  operationId: string,
  summary: string,
  description: string,
  example: string,
): Operation => ({
  method: "get",
  path,
  operationId,
  summary,
  tags,
  ...OPEN,
  request: { params: z.object({ name: z.string().openapi({ description, examples: [example] }) }) },
  responses: { 200: { description: "The file." }, ...problems(404) },
});

export const pageOperations: readonly Operation[] = [
  {
    method: "get",
    path: "/v1/account",
    operationId: "getAccount",
    summary: "Get the key's owner, and what the key may do",
    description:
      "As Replicate's client requests it, with the key's scopes and limits. Works with a key of any scope.",
    tags,
    ...KEYED,
    responses: { 200: json(accountSchema, "The owner."), ...problems(...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/metrics",
    operationId: "getMetrics",
    summary: "Get the hubs' metrics",
    description: "Metrics of all hubs, covering all keys. Requires a key with the scope `metrics`.",
    tags,
    ...KEYED,
    responses: {
      200: {
        description: "Metrics in Prometheus' text format.",
        content: { "text/plain": { schema: z.string() } },
      },
      ...problems(...KEY_ERRORS),
    },
  },
  {
    method: "get",
    path: "/openapi.json",
    operationId: "getOpenApi",
    summary: "Get this document",
    tags,
    ...OPEN,
    responses: {
      200: {
        description: "OpenAPI 3.1.",
        content: {
          "application/json": {
            schema: z.looseObject({}),
            examples: {
              answer: {
                summary: "Its beginning",
                value: { openapi: "3.1.0", info: { title: "vqd", version: "1" } },
              },
            },
          },
        },
      },
    },
  },
  {
    method: "get",
    path: "/",
    operationId: "playground",
    summary: "Open the playground",
    tags,
    ...OPEN,
    responses: { 200: page("A page for making images.") },
  },
  {
    method: "get",
    path: "/docs",
    operationId: "reference",
    summary: "Read this reference",
    tags,
    ...OPEN,
    responses: { 200: page("A page that shows this document.") },
  },
  {
    method: "get",
    path: "/console",
    operationId: "consolePage",
    summary: "Open the console",
    tags,
    ...OPEN,
    responses: { 200: page("A page for runs, webhooks, workers and usage.") },
  },
  {
    method: "get",
    path: "/status",
    operationId: "statusPage",
    summary: "See the status of the service",
    tags,
    ...OPEN,
    responses: { 200: page("A page that shows `/v1/status`.") },
  },
  file("/assets/{name}", "getAsset", "Get a file of a page", "A script, style sheet or icon.", "base.css"),
  file(
    "/playground/{name}",
    "getPlaygroundFile",
    "Get a file of the playground",
    "A script or style sheet.",
    "main.js",
  ),
  file(
    "/playground/form/{name}",
    "getFormFile",
    "Get a file of the playground's form",
    "A script.",
    "fields.js",
  ),
  file(
    "/playground/grid/{name}",
    "getGridFile",
    "Get a file of the playground's grids",
    "A script.",
    "grid.js",
  ),
  file(
    "/playground/stage/{name}",
    "getStageFile",
    "Get a file of its stage",
    "A script or style sheet.",
    "stage.js",
  ),
  file(
    "/reference/{name}",
    "getReferenceFile",
    "Get a file of this reference",
    "A script or style sheet.",
    "main.js",
  ),
  file(
    "/suggestions/{name}",
    "getSuggestion",
    "Get what the playground suggests",
    "A picture, or the list of them with their prompts.",
    "suggestions.json",
  ),
  file(
    "/console/{name}",
    "getConsoleFile",
    "Get a file of the console and the status page",
    "A script or style sheet.",
    "console.css",
  ),
  file("/client/{name}", "getClient", "Get a file of the client", "A module of `@vqd/client`.", "index.js"),
];
