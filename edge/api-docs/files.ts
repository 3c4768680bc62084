// Operations: Replicate's files resource, and the files themselves.

import { z } from "@hono/zod-openapi";
import { fileListSchema, fileSchema } from "./answers.ts";
import {
  form,
  images,
  json,
  KEY_ERRORS,
  KEYED,
  listQuery,
  OPEN,
  type Operation,
  PATH,
  problems,
} from "./operation.ts";

const tags = ["Files"];
const named = { params: z.object({ file_id: PATH.fileId }) };

export const fileOperations: readonly Operation[] = [
  {
    method: "post",
    path: "/v1/files",
    operationId: "createFile",
    summary: "Upload a file",
    description:
      "As Replicate's clients do by themselves for buffers in an input. An input names the file by `urls.get`, which only its " +
      "owner may use, or by `urls.download`. It expires like the images of a prediction; a prediction has a copy of its own.",
    tags,
    ...KEYED,
    request: {
      body: form(
        z.strictObject({
          content: z
            .string()
            .openapi({ format: "binary", description: "A PNG, JPEG, WebP, GIF, AVIF or TIFF image." }),
          metadata: z.string().optional().describe("A JSON object of your own."),
          filename: z.string().optional().describe("Instead of the name in the part's header."),
          type: z.string().optional().describe("No effect: the type is that of the content."),
        }),
        {
          image: { summary: "An image", value: { content: "photo.png" } },
          metadata: {
            summary: "With metadata",
            value: { content: "photo.png", metadata: '{"order": 1024}' },
          },
        },
      ),
    },
    responses: {
      201: json(fileSchema, "The file."),
      ...problems(400, 413, 415, 422, 429, 500, ...KEY_ERRORS),
    },
  },
  {
    method: "get",
    path: "/v1/files",
    operationId: "listFiles",
    summary: "List your files",
    description: "Newest first, in pages linked by `next` and `previous`.",
    tags,
    ...KEYED,
    request: { query: listQuery },
    responses: { 200: json(fileListSchema, "A page of files."), ...problems(422, 429, ...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/files/{file_id}",
    operationId: "getUpload",
    summary: "Get what is known of a file",
    tags,
    ...KEYED,
    request: named,
    responses: { 200: json(fileSchema, "The file's resource."), ...problems(404, 429, ...KEY_ERRORS) },
  },
  {
    method: "delete",
    path: "/v1/files/{file_id}",
    operationId: "deleteFile",
    summary: "Delete a file",
    description: "For good, but for the copies that predictions have. Those go with their predictions.",
    tags,
    ...KEYED,
    request: named,
    responses: { 204: { description: "It is deleted." }, ...problems(404, 429, ...KEY_ERRORS) },
  },
  {
    method: "get",
    path: "/v1/files/{capability}/{name}",
    operationId: "getFile",
    summary: "Get an image",
    description:
      "The URLs in a prediction's `output` and `input`, and of uploaded files. They need no key, and expire.",
    tags,
    ...OPEN,
    request: {
      params: z.object({
        capability: PATH.capability,
        name: z
          .string()
          .regex(/^(?:\d{1,3}|file|image|mask)\.(?:png|jpg|webp|gif|avif|tiff)$/)
          .openapi({
            description: "The image's index in the prediction, or what it is for, and its format.",
            examples: ["0.png"],
          }),
      }),
    },
    responses: {
      200: {
        description: "The image.",
        content: images,
      },
      304: { description: "The file matches `If-None-Match`." },
      ...problems(404, 412),
    },
  },
];
