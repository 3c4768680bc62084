// The OpenAPI document: valid by OpenAPI's own schema, true to the schemas that validate, with examples that pass.

import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { openapiDocument } from "../../edge/api-docs/document.ts";
import { textToImageSchema } from "../../edge/huggingface/schema.ts";
import { generateImagesSchema } from "../../edge/openai/schema.ts";
import { createPredictionSchema, testWebhookSchema } from "../../edge/service/schemas.ts";

interface Media {
  schema?: object;
  examples?: Record<string, { value: unknown }>;
}
interface Operation {
  operationId: string;
  summary: string;
  security: unknown[];
  parameters?: { name: string; in: string; required?: boolean; schema: { examples?: unknown[] } }[];
  requestBody?: { content: Record<string, Media> };
  responses: Record<string, { content?: Record<string, Media> }>;
}

const document = openapiDocument() as {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, { examples?: unknown[] }> };
};
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);
const BODIES: Record<string, z.ZodType> = {
  createPrediction: createPredictionSchema,
  createModelPrediction: createPredictionSchema,
  createDeploymentPrediction: createPredictionSchema,
  putPrediction: createPredictionSchema,
  generateImages: generateImagesSchema,
  textToImage: textToImageSchema,
  textToImageOfModel: textToImageSchema,
  testWebhook: testWebhookSchema,
};

const ajv = new Ajv2020({ strict: false, validateFormats: false });
ajv.addSchema({ ...document, $id: "https://vqd.test/openapi" });
const pointer = (...keys: string[]): string =>
  keys.map((key) => encodeURIComponent(key.replaceAll("~", "~0").replaceAll("/", "~1"))).join("/");
const schemaAt = (...keys: string[]) =>
  ajv.compile({ $ref: `https://vqd.test/openapi#/${pointer(...keys)}` });

describe("the OpenAPI document", () => {
  it("is valid OpenAPI 3.1", async () => {
    const validator = new Validator();
    const { valid, errors } = await validator.validate(structuredClone(document));
    expect(errors).toBeUndefined();
    expect(valid).toBe(true);
    expect(validator.version).toBe("3.1");
  });

  it("gives every operation an id of its own, a summary, its path's parameters with examples, and errors", () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, operation } of operations) {
      expect(operation.summary, path).toMatch(/^[A-Z].*[^.]$/);
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const described = (operation.parameters ?? []).filter((parameter) => parameter.in === "path");
      expect(described.map(({ name }) => name)).toEqual(named);
      for (const { schema } of operation.parameters ?? []) expect(schema.examples).toHaveLength(1);
      const errors = operation.security.length > 0 ? ["401", "403", "503"] : [];
      expect(Object.keys(operation.responses), path).toEqual(expect.arrayContaining(errors));
    }
  });

  it("has examples that its schemas and the validator accept", () => {
    let checked = 0;
    const check = (keys: string[], value: unknown): void => {
      checked++;
      const described = schemaAt(...keys);
      expect(described(value), `${keys.join(" ")}: ${ajv.errorsText(described.errors)}`).toBe(true);
    };
    for (const { path, method, operation } of operations) {
      for (const [type, { examples = {} }] of Object.entries(operation.requestBody?.content ?? {})) {
        expect(Object.keys(examples), operation.operationId).not.toEqual([]);
        for (const { value } of Object.values(examples)) {
          check(["paths", path, method, "requestBody", "content", type, "schema"], value);
          if (type !== "application/json") continue;
          expect(BODIES[operation.operationId]?.safeParse(value).success).toBe(true);
        }
      }
      for (const [i, { schema }] of (operation.parameters ?? []).entries()) {
        for (const example of schema.examples ?? []) {
          check(["paths", path, method, "parameters", String(i), "schema"], example);
        }
      }
    }
    for (const [name, { examples = [] }] of Object.entries(document.components.schemas)) {
      for (const example of examples) check(["components", "schemas", name], example);
    }
    expect(checked).toBeGreaterThan(20);
    const withBody = operations.filter(
      ({ operation }) => operation.requestBody?.content["application/json"] !== undefined,
    );
    expect(withBody.map(({ operation }) => operation.operationId).toSorted()).toEqual(
      Object.keys(BODIES).toSorted(),
    );
  });

  it("has an example of every answer that is a text, which its schema accepts", () => {
    let checked = 0;
    for (const { path, method, operation } of operations) {
      const good = Object.entries(operation.responses).filter(([status]) => status < "4");
      const types = new Set(good.flatMap(([, { content = {} }]) => Object.keys(content)));
      for (const [status, { content = {} }] of good) {
        for (const [type, { examples = {} }] of Object.entries(content)) {
          const described = schemaAt("paths", path, method, "responses", status, "content", type, "schema");
          for (const { value } of Object.values(examples)) {
            types.delete(type);
            checked++;
            expect(
              described(value),
              `${operation.operationId} ${status}: ${ajv.errorsText(described.errors)}`,
            ).toBe(true);
          }
        }
      }
      const missing = [...types].filter((type) => !type.startsWith("image/") && type !== "text/html");
      expect(missing, operation.operationId).toEqual([]);
    }
    expect(checked).toBeGreaterThan(40);
  });

  it.each(["createPrediction", "generateImages"])(
    "agrees with the validator about the bodies of %s",
    (id) => {
      const schema = BODIES[id];
      const found = operations.find(({ operation }) => operation.operationId === id);
      if (schema === undefined || found === undefined) throw new Error(`no operation ${id}`);
      const media = ["requestBody", "content", "application/json", "schema"];
      const described = schemaAt("paths", found.path, found.method, ...media);
      const examples = Object.values(
        found.operation.requestBody?.content["application/json"]?.examples ?? {},
      );
      let accepted = 0;
      let refused = 0;
      fc.assert(
        fc.property(fc.constantFrom(...examples.map(({ value }) => value)), mutations, (example, changes) => {
          const body = structuredClone(example) as Record<string, unknown>;
          for (const [field, value] of changes) {
            const target = (body["input"] ?? body) as Record<string, unknown>;
            target[field] = value;
          }
          const valid = schema.safeParse(body).success;
          if (valid) accepted++;
          else refused++;
          expect(described(body), `${JSON.stringify(body)}: ${ajv.errorsText(described.errors)}`).toBe(valid);
        }),
        { numRuns: 4_000, seed: 20_261_123 },
      );
      expect(accepted).toBeGreaterThan(100);
      expect(refused).toBeGreaterThan(100);
    },
  );
});

const FIELDS = [
  "prompt",
  "num_inference_steps",
  "guidance_scale",
  "truncation_rate",
  "seed",
  "scheduler",
  "order",
  "remasking",
  "temperature",
  "prior_rule",
  "prior_weight",
  "negative_prompt",
  "prompt_too_long",
  "seeds",
  "num_outputs",
  "n",
  "size",
  "output_format",
  "response_format",
  "unknown",
  "preset",
  "num_previews",
  "output_quality",
  "output_compression",
  "partial_images",
  "stream",
  "quality",
  "style",
  "frame_count",
  "image",
  "mask",
  "mask_channel",
  "strength",
  "feather",
  "tokens",
  "from",
];
const mutations = fc.array(
  fc.tuple(
    fc.constantFrom(...FIELDS),
    fc.oneof(
      fc.constantFrom(
        null,
        true,
        "",
        "a",
        "png",
        "jpg",
        "truncate",
        "18446744073709551615",
        "strided",
        "reference",
        "url",
        "auto",
        "256x256",
        [],
        ["a"],
        {},
      ),
      fc.constantFrom(0, 1, 2, 3, 0.5, 1.5, 8, 9, 10, 20, 20.5, 100, 1_000, 1_001, -1, 1e9, 2 ** 53),
    ),
  ),
  { minLength: 1, maxLength: 2 },
);
