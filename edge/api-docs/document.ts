// The OpenAPI 3.1 document, generated from the schemas that validate.

import { OpenAPIHono } from "@hono/zod-openapi";
import { imageOperations } from "./images.ts";
import { modelOperations } from "./models.ts";
import { pageOperations } from "./pages.ts";
import { predictionOperations } from "./predictions.ts";
import { webhookOperations } from "./webhooks.ts";

const OPERATIONS = [
  ...predictionOperations,
  ...webhookOperations,
  ...imageOperations,
  ...modelOperations,
  ...pageOperations,
];

const DESCRIPTION = `VQ-Diffusion text to image, on the API that people have clients for: Replicate's predictions and
OpenAI's image generation.

Send \`Authorization: Bearer <key>\`. Images and event streams are fetched by unguessable URLs, without a key.
Every answer has an \`x-request-id\`. Those that make images say where the key stands (\`ratelimit\`,
\`x-ratelimit-remaining-requests\`). A key has scopes: \`read\` for what is got, \`create\` for what is made, \`admin\` for
the secret of webhooks, \`metrics\` for what the hubs have counted.`;

/** The document; its servers are those of the origin it is fetched from. */
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
      { name: "Predictions", description: "Replicate's resource: create, follow step by step, cancel." },
      { name: "Webhooks", description: "Standard Webhooks: the secret, what came of them, another try." },
      { name: "Images", description: "OpenAI's endpoint: one request, the images in its answer." },
      { name: "Models", description: "What the live workers have announced." },
      { name: "Service", description: "Health, pages and this description." },
    ],
  });
  return document;
}
