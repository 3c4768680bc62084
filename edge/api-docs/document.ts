// The OpenAPI 3.1 document, generated from the schemas that validate requests.

import { OpenAPIHono } from "@hono/zod-openapi";
import { huggingfaceOperations, huggingfaceTag } from "../huggingface/operations.ts";
import { openaiOperations, openaiTag } from "../openai/operations.ts";
import { replicateOperations, replicateTag } from "../replicate/operations.ts";
import { auditOperation } from "./audit.ts";
import EXAMPLE_ANSWERS from "./example-answers.json" with { type: "json" };
import { fileOperations } from "./files.ts";
import { modelOperations } from "./models.ts";
import { pageOperations } from "./pages.ts";
import { predictionOperations } from "./predictions.ts";
import { sharingOperations } from "./sharing.ts";
import { receiptOperations } from "./receipts.ts";
import { statusOperations } from "./status.ts";
import { usageOperations } from "./usage.ts";
import { webhookOperations } from "./webhooks.ts";

const OPERATIONS = [
  ...predictionOperations,
  ...sharingOperations,
  ...fileOperations,
  ...receiptOperations,
  ...webhookOperations,
  ...usageOperations,
  auditOperation,
  ...openaiOperations,
  ...huggingfaceOperations,
  ...modelOperations,
  ...replicateOperations,
  ...statusOperations,
  ...pageOperations,
];

const DESCRIPTION = `Text-to-image generation with VQ-Diffusion, compatible with existing clients: Replicate's
predictions, OpenAI's image generation and Hugging Face's text-to-image.

Send \`Authorization: Bearer <key>\`. Images and event streams have unguessable URLs that need no key.
Every response has an \`x-request-id\`. Requests that make images also return the state of the key's rate limit
(\`ratelimit\`, \`x-ratelimit-remaining-requests\`). Keys have scopes: \`read\` for GET, \`create\` for POST, PUT and DELETE, \`admin\` for
the signing secret of webhooks and the audit log, \`metrics\` for the hubs' metrics, and \`billing\` for what all owners have used.`;

interface Described {
  readonly operationId?: string;
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { examples?: object }>> }>
  >;
}

/** Adds what the service has answered (infra/example-answers.ts) to the answers of the operations. */
function addExamples(paths: Readonly<Record<string, Readonly<Record<string, Described>>>>): void {
  const operations = Object.values(paths).flatMap((methods) => Object.values(methods));
  for (const { operationId, status, type, value, isShortened } of EXAMPLE_ANSWERS) {
    const operation = operations.find((one) => one.operationId === operationId);
    const media = operation?.responses[String(status)]?.content?.[type];
    if (media === undefined) throw new Error(`${operationId} has no answer ${status} of type ${type}`);
    const summary = isShortened ? "An answer, with what is long in it cut" : "An answer";
    media.examples = { answer: { summary, value } };
  }
}

/** The document; its server is the origin it is fetched from. */
export function openapiDocument(): Record<string, unknown> {
  const app = new OpenAPIHono();
  for (const operation of OPERATIONS) app.openAPIRegistry.registerPath(operation);
  app.openAPIRegistry.registerComponent("securitySchemes", "key", {
    type: "http",
    scheme: "bearer",
    description: "An API key.",
  });
  const { webhooks: _, ...document } = app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "vqd",
      version: "1",
      description: DESCRIPTION,
      license: { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0" },
    },
    servers: [{ url: "/" }],
    tags: [
      {
        name: "Predictions",
        description: "Replicate's resource: create, follow step by step, cancel, delete.",
      },
      {
        name: "Files",
        description:
          "Replicate's resource: images that are uploaded to be named in inputs, until they expire.",
      },
      {
        name: "Receipts",
        description:
          "What an image was made with and its tokens after every step, signed, so that anybody can check it.",
      },
      {
        name: "Webhooks",
        description: "Standard Webhooks: the signing secret, delivery attempts, redelivery.",
      },
      { name: "Usage", description: "What the owner of a key has used, and the audit log." },
      openaiTag,
      huggingfaceTag,
      { name: "Models", description: "The models that workers have announced." },
      replicateTag,
      { name: "Service", description: "Health, metrics, pages and this document." },
    ],
  });
  addExamples(document.paths as Parameters<typeof addExamples>[0]);
  return document;
}
