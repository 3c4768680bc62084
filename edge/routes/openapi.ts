// Serves the OpenAPI document.

import type { AppContext } from "../http/context.ts";
import { openapiDocument } from "../api-docs/document.ts";

let text: string | undefined;

/** `GET /openapi.json` */
export function getOpenApi(c: AppContext): Response {
  // Generated on first use: it takes a while, and most isolates never need it.
  text ??= JSON.stringify(openapiDocument());
  c.header("cache-control", "no-cache");
  c.header("content-type", "application/json");
  return c.body(text);
}
