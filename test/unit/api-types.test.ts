// The client's types of the API, and what a code generator makes of the whole document.

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { API_TYPES, apiTypes } from "../../infra/openapi/types.ts";

it("the client's types are those of the document: npx node infra/openapi/types.ts", async () => {
  expect(await apiTypes()).toBe(readFileSync(API_TYPES, "utf8"));
});

it("the whole document has types, with its operations", async () => {
  const types = await apiTypes({ paths: true });
  for (const text of ["createPrediction: {", '"/v1/images/generations": {', "textToImage: {"]) {
    expect(types).toContain(text);
  }
});
