// Operations: models.

import { z } from "@hono/zod-openapi";
import { classesSchema, modelListSchema, modelSchema, paletteSchema, vocabularySchema } from "./answers.ts";
import { json, KEY_ERRORS, KEYED, modelProblems, type Operation, PATH } from "./operation.ts";

const tags = ["Models"];
const named = { params: z.object({ owner: PATH.owner, name: PATH.name }) };

export const modelOperations: readonly Operation[] = [
  {
    method: "get",
    path: "/v1/models",
    operationId: "listModels",
    summary: "List the models",
    description:
      "Of each model that workers have announced the version that serves its name, or most of its requests.\n\n" +
      "With the method QUERY, which OpenAPI 3.1 cannot describe, and text as the body, the answer has the models in whose name, " +
      "description and card all of its words occur: Replicate's `models.search`.",
    tags,
    ...KEYED,
    responses: { 200: json(modelListSchema, "The models."), ...modelProblems(...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/models/{id}",
    operationId: "retrieveModel",
    summary: "Get a model by its id",
    description: "As OpenAI's client requests it: `owner/name` with the slash encoded.",
    tags,
    ...KEYED,
    request: {
      params: z.object({
        id: z.string().openapi({ description: "`owner/name`, URL-encoded.", examples: ["vqd/scenes"] }),
      }),
    },
    responses: { 200: json(modelSchema, "The model."), ...modelProblems(404, ...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/models/{owner}/{name}",
    operationId: "getModel",
    summary: "Get a model",
    tags,
    ...KEYED,
    request: named,
    responses: { 200: json(modelSchema, "The model."), ...modelProblems(404, ...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/models/{owner}/{name}/palette",
    operationId: "getPalette",
    summary: "Get the colours of a model's tokens",
    description:
      "The mean colour of each class of the VQ model. With it, the tokens of a `step` event can be shown as a preview " +
      "without decoding them.",
    tags,
    ...KEYED,
    request: named,
    responses: { 200: json(paletteSchema, "The colours."), ...modelProblems(404, ...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/models/{owner}/{name}/classes",
    operationId: "getClasses",
    summary: "List a model's classes",
    description:
      "Of a model that is conditioned by class: what its prompts can be, beside the labels themselves.",
    tags,
    ...KEYED,
    request: named,
    responses: { 200: json(classesSchema, "The classes."), ...modelProblems(404, ...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/models/{owner}/{name}/vocabulary",
    operationId: "getVocabulary",
    summary: "List the words that a model knows",
    description:
      "From the checkpoint's `vocabulary.txt`; 404 for a model without one. Others have no effect on its images.",
    tags,
    ...KEYED,
    request: named,
    responses: { 200: json(vocabularySchema, "The words."), ...modelProblems(404, ...KEY_ERRORS) },
  },
];
