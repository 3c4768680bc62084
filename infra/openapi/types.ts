// Types of what the API takes and answers, from its OpenAPI document: `npx node infra/openapi/types.ts` writes the client's api.d.ts.

import { writeFileSync } from "node:fs";
import openapiTypescript, { astToString } from "openapi-typescript";
import { openapiDocument } from "../../edge/api-docs/document.ts";

const HEADER = "// Generated from the OpenAPI document: npx node infra/openapi/types.ts\n\n";

/** Path of the file that has them. */
export const API_TYPES = new URL("../../edge/pages/client/api.d.ts", import.meta.url);

/** TypeScript for the document's schemas; with `paths` for all of it. */
export async function apiTypes({ paths = false } = {}): Promise<string> {
  const document = openapiDocument();
  // The package takes JSON, not documents of another version of its own types.
  const text = JSON.stringify(paths ? document : { ...document, paths: {} });
  return HEADER + astToString(await openapiTypescript(text, { alphabetize: true }));
}

if (import.meta.main) writeFileSync(API_TYPES, await apiTypes());
