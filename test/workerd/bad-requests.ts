// Requests that an OpenAPI document says are wrong: a good one, with one mistake in its body, path, key or headers.

import * as fc from "fast-check";
import { KEY } from "./support.ts";

interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
  readonly examples?: readonly string[];
}
export interface Operation {
  readonly method: string;
  readonly path: string;
  readonly security: readonly unknown[];
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly schema: Schema }[];
  readonly requestBody?: {
    readonly content: Record<string, { schema: Schema; examples: Record<string, { value: unknown }> }>;
  };
  readonly responses: Readonly<Record<string, { content?: Readonly<Record<string, unknown>> }>>;
}
/** A request that must be refused, with the field that the answer must name, if it is about one. */
export interface BadRequest {
  readonly what: string;
  readonly operation: Operation;
  readonly path: string;
  readonly init: RequestInit & { headers: Record<string, string> };
  readonly field?: string;
}

/** What the document says, as far as it matters here. */
export interface Api {
  readonly operations: readonly Operation[];
  /** The schema that a `$ref` means. */
  readonly resolve: (schema: Schema) => Schema;
}

export interface OpenApi {
  readonly paths: Record<string, Record<string, Omit<Operation, "method" | "path">>>;
  readonly components: { readonly schemas: Record<string, Schema> };
}

export function readApi({ paths, components }: OpenApi): Api {
  return {
    operations: Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) =>
        Object.assign({ method: method.toUpperCase(), path }, operation),
      ),
    ),
    resolve: (schema) =>
      schema.$ref === undefined
        ? schema
        : (components.schemas[schema.$ref.replace("#/components/schemas/", "")] ?? {}),
  };
}

const jsonBody = (operation: Operation) => operation.requestBody?.content["application/json"];
const isKeyed = ({ security }: Operation): boolean => security.length > 0;

/** The path with its parameters' examples, but for those given. */
function pathOf(operation: Operation, given: Record<string, string> = {}): string {
  return operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const parameter = operation.parameters?.find((candidate) => candidate.name === name);
    const value = given[name] ?? parameter?.schema.examples?.[0] ?? name;
    return encodeURIComponent(name === "name" && value === "scenes" ? "played" : value);
  });
}

const mismatches = (pattern: string): string[] =>
  ["\u0001!", " \n"].filter((text) => !new RegExp(pattern, "u").test(text));

const MAX_SAFE = Number.MAX_SAFE_INTEGER;

function typeName(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

/** Values of other types than `schema` allows, or beyond its limits. */
function wrongValues(schema: Schema, resolve: Api["resolve"]): unknown[] {
  const { maximum, minimum, exclusiveMinimum, maxLength, maxItems, pattern, anyOf } = resolve(schema);
  const types = new Set([anyOf?.map(({ type }) => type) ?? resolve(schema).type].flat(2));
  const ofTypes: [string, unknown[]][] = [
    ["boolean", [true, false]],
    ["number", [0.25, -1.5]],
    ["string", ["", "x", "☃", "\u0000", "NaN", "1"]],
    ["array", [[], [1], [[]], [null]]],
    ["object", [{}, { a: 1 }, { toString: 1 }]],
    ["null", [null]],
  ];
  const isNumber = types.has("number") || types.has("integer");
  const wrong = ofTypes.flatMap(([type, values]) => {
    if (types.has(type) || (type === "number" && isNumber)) return [];
    return values;
  });
  if (maximum !== undefined) wrong.push(maximum + 1, 1e300);
  if (minimum !== undefined) wrong.push(minimum - 1, -1e300);
  if (exclusiveMinimum !== undefined) wrong.push(exclusiveMinimum, -1);
  if (types.has("integer")) wrong.push(1.5);
  if (maxLength !== undefined) wrong.push("a".repeat(maxLength + 1));
  if (maxItems !== undefined) wrong.push(Array.from({ length: maxItems + 1 }, () => "a"));
  if (resolve(schema).enum !== undefined) wrong.push("none of these", 99);
  if (pattern !== undefined) wrong.push(...mismatches(pattern));
  for (const branch of anyOf ?? []) {
    wrong.push(
      ...wrongValues(branch, resolve).filter((value) => {
        // A larger integer, written with all of its digits, is as good as they are as a string.
        const isDigits = types.has("string") && typeof value === "number" && value > MAX_SAFE && value < 1e18;
        return !isDigits && !types.has(typeName(value));
      }),
    );
    if (branch.pattern !== undefined) wrong.push(...mismatches(branch.pattern));
    if (branch.maxLength !== undefined) wrong.push("a".repeat(branch.maxLength + 1));
    if (branch.maxItems !== undefined)
      wrong.push(
        [],
        Array.from({ length: branch.maxItems + 1 }, () => "a"),
      );
  }
  return wrong;
}

type Body = Record<string, unknown>;

const members = (body: Body): string[] =>
  Object.entries(body).map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);

/** A good body with one thing wrong in it, and the path of that thing. */
function badBodies(
  schema: Schema,
  good: Body,
  resolve: Api["resolve"],
  prefix = "",
): fc.Arbitrary<{ body: unknown; field: string }> {
  const { properties = {}, required = [], additionalProperties } = resolve(schema);
  const ways: fc.Arbitrary<{ body: unknown; field: string }>[] = Object.entries(properties).flatMap(
    ([name, property]) => {
      const nested = resolve(property);
      const field = prefix + name;
      const found = wrongValues(property, resolve);
      const wrong = fc.constantFrom(...found).map((value) => ({ body: { ...good, [name]: value }, field }));
      if (nested.properties === undefined) return [wrong];
      const inner = badBodies(property, (good[name] ?? {}) as Body, resolve, `${field}.`);
      return [inner.map(({ body, field: at }) => ({ body: { ...good, [name]: body }, field: at })), wrong];
    },
  );
  if (additionalProperties === false) {
    const unknown = fc.string({ minLength: 1, maxLength: 30 }).filter((name) => !(name in properties));
    ways.push(
      fc.tuple(unknown, fc.jsonValue()).map(([name, value]) => ({
        // As JSON has it: `__proto__` is a key like any other.
        body: JSON.parse(
          `{${[`${JSON.stringify(name)}:${JSON.stringify(value)}`, ...members(good)].join(",")}}`,
        ) as unknown,
        field: prefix + name,
      })),
    );
  }
  for (const name of required) {
    const { [name]: _, ...rest } = good;
    ways.push(fc.constant({ body: rest, field: prefix + name }));
  }
  return fc.oneof(...ways);
}

const headersOf = (operation: Operation): Record<string, string> =>
  isKeyed(operation) ? { authorization: `Bearer ${KEY}` } : {};

function post(what: string, operation: Operation, body: BodyInit, type = "application/json"): BadRequest {
  const headers = { ...headersOf(operation), "content-type": type };
  return { what, operation, path: pathOf(operation), init: { method: operation.method, body, headers } };
}

/** Requests that are wrong in one way each. */
export function badRequests({ operations, resolve }: Api): fc.Arbitrary<BadRequest> {
  const withBody = operations.filter((operation) => jsonBody(operation) !== undefined);
  const byField = withBody.map((operation) => {
    const { schema, examples } = jsonBody(operation) ?? { schema: {}, examples: {} };
    return fc
      .constantFrom(...Object.values(examples))
      .chain(({ value }) => badBodies(schema, value as Body, resolve))
      .map(({ body, field }) => Object.assign(post("a field", operation, JSON.stringify(body)), { field }));
  });
  const noJson = fc.tuple(
    fc.constantFrom(...withBody),
    fc.oneof(
      fc.constantFrom(
        "",
        "{",
        '{"input":',
        "NaN",
        "[1,]",
        "{'a':1}",
        '{"input":{"prompt":"a","seed":Infinity}}',
      ),
      fc.string().filter((text) => !isJson(text)),
      fc.uint8Array({ minLength: 1, maxLength: 100 }).map((bytes) => Uint8Array.of(0xff, ...bytes)),
    ),
  );
  const noObject = fc.tuple(
    fc.constantFrom(...withBody),
    fc.oneof(fc.jsonValue(), fc.array(fc.jsonValue())).filter((value) => !isObject(value)),
  );
  const types = fc.constantFrom(
    "text/plain",
    "multipart/form-data",
    "application/xml",
    "application/jsonx",
    "json",
  );
  const keyed = fc.constantFrom(...operations.filter(isKeyed));
  const noKey = fc.constantFrom(
    "",
    "Bearer",
    "Bearer ",
    "Bearer nope",
    "Basic eDp5",
    `Bearer ${KEY}x`,
    `Bearer ${"k".repeat(5_000)}`,
    KEY,
  );
  const named = operations.filter(({ parameters = [] }) =>
    parameters.some((parameter) => parameter.in === "path"),
  );
  const noName = fc.string({ minLength: 1, maxLength: 60 }).filter((name) => !/^\.{1,2}$/.test(name));
  const methods = fc.constantFrom("DELETE", "PUT", "PATCH", "PROPFIND");
  return fc.oneof(
    { weight: 6, arbitrary: fc.oneof(...byField) },
    { weight: 1, arbitrary: noJson.map(([operation, body]) => post("no JSON", operation, body)) },
    { weight: 1, arbitrary: noObject.map(([op, body]) => post("no object", op, JSON.stringify(body))) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom(...withBody), types)
        .map(([op, type]) => post("a content type", op, JSON.stringify(goodBody(op)), type)),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(keyed, noKey).map(([operation, authorization]) => ({
        what: "a key",
        operation,
        path: pathOf(operation),
        init: {
          method: operation.method,
          headers: { "content-type": "application/json", authorization },
          ...(operation.method === "POST" ? { body: JSON.stringify(goodBody(operation)) } : {}),
        },
      })),
    },
    // Where no path has a name there is nothing to get wrong in it.
    {
      weight: named.length === 0 ? 0 : 2,
      arbitrary: fc
        .tuple(fc.constantFrom(...(named.length === 0 ? operations : named)), noName)
        .map(([operation, name]) => {
          const [parameter] = operation.parameters?.filter((candidate) => candidate.in === "path") ?? [];
          return {
            what: "a name in the path",
            operation,
            path: pathOf(operation, { [parameter?.name ?? ""]: name }),
            init: {
              method: operation.method,
              headers: { "content-type": "application/json", ...headersOf(operation) },
              ...(operation.method === "POST" ? { body: JSON.stringify(goodBody(operation)) } : {}),
            },
          };
        }),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom(...operations), methods)
        .filter(
          ([{ path }, method]) => !operations.some((other) => other.path === path && other.method === method),
        )
        .map(([operation, method]) => ({
          what: "a method",
          operation,
          path: pathOf(operation),
          init: { method, headers: headersOf(operation) },
        })),
    },
  );
}

const goodBody = (operation: Operation): unknown =>
  Object.values(jsonBody(operation)?.examples ?? {})[0]?.value ?? {};

const isObject = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
