// A thousand requests per dialect that are wrong in one way each, made up from the OpenAPI document: each is refused as documented.

import * as fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  type Api,
  badRequests,
  type BadRequest,
  type OpenApi,
  type Operation,
  readApi,
} from "./bad-requests.ts";
import { call, PlayedWorker } from "./support.ts";

const RUNS = 1_000;
/** No refusal takes this long, on any machine. */
const HANG_MS = 10_000;
/** A good request follows each bad one; a whole prediction every so many. */
const PREDICTION_EVERY = 50;
const TIMEOUT_MS = 300_000;

let worker: PlayedWorker;
let api: Api;
beforeAll(async () => {
  worker = await PlayedWorker.start();
  api = readApi(await (await call("/openapi.json")).json<OpenApi>());
});
afterAll(() => worker.close());

/** The media types of errors that the document gives the operation. */
const errorTypes = ({ responses }: Operation): string[] =>
  Object.entries(responses)
    .filter(([status]) => status.startsWith("4"))
    .flatMap(([, { content = {} }]) => Object.keys(content));

type Dialect = "the service's own" | "OpenAI's" | "Hugging Face's";

function dialectOf(path: string): Dialect {
  if (path.startsWith("/v1/images")) return "OpenAI's";
  return path === "/" || path.startsWith("/models") ? "Hugging Face's" : "the service's own";
}

async function expectRefused({ what, operation, path, init, field }: BadRequest): Promise<number> {
  const told = `${what}: ${init.method} ${path} ${typeof init.body === "string" ? init.body : ""}`;
  const response = await call(path, { ...init, key: null, signal: AbortSignal.timeout(HANG_MS) });
  expect(response.status, told).toBeGreaterThanOrEqual(400);
  expect(response.status, told).toBeLessThan(500);
  // Statuses that every path has are not listed for each of them.
  if (response.status !== 405 && what !== "a name in the path") {
    expect(Object.keys(operation.responses), told).toContain(String(response.status));
  }
  const isOpenai = dialectOf(operation.path) === "OpenAI's";
  const isHuggingface = dialectOf(operation.path) === "Hugging Face's";
  const type = isOpenai || isHuggingface ? "application/json" : "application/problem+json";
  expect(response.headers.get("content-type"), told).toBe(type);
  expect([...errorTypes(operation), type], told).toContain(type);
  const body = await response.json<{
    status?: number;
    detail?: string;
    errors?: { path: string; message: string }[];
    error?: string | { message: string; param: string | null };
    error_type?: string;
  }>();
  if (typeof body.error === "string") {
    expect(isHuggingface, told).toBe(true);
    expect(Object.keys(body)).toEqual(["error", "error_type"]);
    // It begins with the path, of which the field is the beginning.
    if (field !== undefined) expect(body.error.startsWith(field), told).toBe(true);
    return response.status;
  }
  expect(isHuggingface, told).toBe(false);
  if (isOpenai) {
    expect(Object.keys(body)).toEqual(["error"]);
    expect(body.error?.message, told).toMatch(/\w/);
  } else {
    expect(body.status, told).toBe(response.status);
    expect(body.detail, told).toMatch(/\w/);
  }
  if (field !== undefined) {
    const fields = isOpenai ? [body.error?.param ?? ""] : (body.errors ?? []).map((error) => error.path);
    expect(
      fields.some((at) => at === field || at.startsWith(`${field}.`)),
      `${told} names ${fields.join()}`,
    ).toBe(true);
  }
  return response.status;
}

async function expectService(run: number): Promise<void> {
  const models = await call("/v1/models");
  expect(models.status).toBe(200);
  await models.body?.cancel();
  if (run % PREDICTION_EVERY !== 0) return;
  const created = await call("/v1/predictions", {
    json: { model: "vqd/played", input: { prompt: "a red apple" } },
  });
  expect(created.status).toBe(201);
  const { id } = await created.json<{ id: string }>();
  const canceled = await call(`/v1/predictions/${id}/cancel`, { method: "POST" });
  expect(await canceled.json()).toMatchObject({ id, status: "canceled" });
}

/** Kinds of mistakes, with the status of their refusal: each has its turn. */
const EVERYWHERE = ["no JSON 400", "a content type 415", "a key 401", "a method 405"];
const KINDS: Record<Dialect, readonly string[]> = {
  "the service's own": [...EVERYWHERE, "a field 422", "no object 422", "a name in the path 404"],
  "OpenAI's": [...EVERYWHERE, "a field 400", "no object 400"],
  "Hugging Face's": [...EVERYWHERE, "a field 422", "no object 422", "a name in the path 404"],
};

it.each(Object.entries(KINDS) as [Dialect, string[]][])(
  `refuses ${RUNS} bad requests in %s dialect, naming the field, and goes on serving`,
  async (dialect, kinds) => {
    const counts = new Map<string, number>();
    let run = 0;
    const operations = api.operations.filter(({ path }) => dialectOf(path) === dialect);
    await fc.assert(
      fc.asyncProperty(badRequests({ ...api, operations }), async (bad) => {
        const status = await expectRefused(bad);
        const kind = `${bad.what} ${status}`;
        counts.set(kind, (counts.get(kind) ?? 0) + 1);
        await expectService(run++);
      }),
      { numRuns: RUNS, seed: 20_261_124 },
    );
    expect(run).toBe(RUNS);
    for (const kind of kinds) expect(counts.get(kind) ?? 0, kind).toBeGreaterThan(5);
  },
  TIMEOUT_MS,
);
