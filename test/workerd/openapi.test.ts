// The OpenAPI document against the app that serves it: every route, every answer; and the pages' headers.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { z } from "zod";
import { createApp } from "../../edge/app.ts";
import {
  accountSchema,
  healthSchema,
  imagesSchema,
  modelListSchema,
  modelProblemSchema,
  modelSchema,
  openaiErrorSchema,
  paletteSchema,
  predictionSchema,
  predictionListSchema,
  problemSchema,
  queuedSchema,
  rotatedSecretSchema,
  versionSchema,
  webhookAttemptsSchema,
  webhookSecretSchema,
} from "../../edge/api-docs/answers.ts";
import {
  collectionListSchema,
  deploymentListSchema,
  deploymentSchema,
  hardwareListSchema,
  versionListSchema,
} from "../../edge/replicate/schema.ts";
import { call, MODEL, PlayedWorker } from "./support.ts";
import { PLAYED_MODELS } from "../support/played-models.ts";

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());

interface Document {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, { readonly responses: Record<string, unknown> }>>;
}

describe("/openapi.json", () => {
  it("describes exactly the routes of the app", async () => {
    const response = await call("/openapi.json", { key: null });
    expect(response.headers.get("content-type")).toBe("application/json");
    const document = await response.json<Document>();
    expect(document.openapi).toBe("3.1.0");
    const described = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const routes = createApp()
      // OpenAPI 3.1 knows no QUERY: the description of GET tells of it.
      .routes.filter(({ method }) => method !== "ALL" && method !== "QUERY")
      .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`);
    expect(described.toSorted()).toEqual([...new Set(routes)].toSorted());
  });
});

/** Holds an answer against its description. */
async function expectAnswer<T>(response: Response, status: number, schema: z.ZodType<T>): Promise<T> {
  expect(response.status).toBe(status);
  const body = await response.json();
  const parsed = schema.safeParse(body);
  expect(parsed.error?.issues).toBeUndefined();
  return body as T;
}

describe("responses match the document", () => {
  it("for a prediction from its start to its end", async () => {
    const input = { prompt: "a red apple", seed: 41, num_inference_steps: 2, prior_rule: 1 };
    const created = await expectAnswer(
      await call("/v1/predictions", { json: { input } }),
      201,
      predictionSchema,
    );
    const job = await worker.take({ id: created.id });
    await worker.play(job);
    const path = `/v1/predictions/${created.id}`;
    await expect
      .poll(async () => (await (await call(path)).json<{ status: string }>()).status)
      .toBe("succeeded");
    const ended = await expectAnswer(await call(path), 200, predictionSchema);
    expect(ended.output).toHaveLength(1);
    await expectAnswer(await call(`${path}/cancel`, { method: "POST" }), 200, predictionSchema);
    await expectAnswer(await call("/v1/predictions?limit=2"), 200, predictionListSchema);
  });

  it("for a canceled prediction of a model in the path", async () => {
    const json = { input: { prompt: ["a", "b"] } };
    const path = `/v1/models/${MODEL.name}/predictions`;
    const { id } = await expectAnswer(await call(path, { json }), 201, predictionSchema);
    const canceled = await call(`/v1/predictions/${id}/cancel`, { method: "POST" });
    expect((await expectAnswer(canceled, 200, predictionSchema)).status).toBe("canceled");
  });

  it.each(["url", "b64_json"])("for images as %s", async (format) => {
    const seed = format === "url" ? 42 : 43;
    const answering = call("/v1/images/generations", {
      json: { prompt: "a", seed, num_inference_steps: 1, response_format: format },
    });
    await worker.play(await worker.take({ seed }));
    await expectAnswer(await answering, 200, imagesSchema);
  });

  it("for webhooks and their secrets", async () => {
    await expectAnswer(await call("/v1/webhooks/default/secret"), 200, webhookSecretSchema);
    const rotated = await call("/v1/webhooks/default/secret/rotate", { method: "POST" });
    await expectAnswer(rotated, 200, rotatedSecretSchema);
    const json = {
      input: { prompt: "a" },
      webhook: "http://127.0.0.1:1024/hook",
      webhook_events_filter: ["completed"],
    };
    const created = await expectAnswer(await call("/v1/predictions", { json }), 201, predictionSchema);
    const path = `/v1/predictions/${created.id}`;
    await (await call(`${path}/cancel`, { method: "POST" })).body?.cancel();
    const attempts = await expectAnswer(await call(`${path}/webhook-attempts`), 200, webhookAttemptsSchema);
    expect(attempts.results).toHaveLength(1);
    const again = await call(`${path}/webhook-attempts/redeliver`, { method: "POST" });
    await expectAnswer(again, 202, queuedSchema);
  });

  it("for models, their palettes and health", async () => {
    await expectAnswer(await call("/v1/models"), 200, modelListSchema);
    await expectAnswer(await call("/v1/account"), 200, accountSchema);
    await expectAnswer(await call(`/v1/models/${MODEL.name}`), 200, modelSchema);
    const found = await call("/v1/models", { method: "QUERY", body: '"played"' });
    expect((await expectAnswer(found, 200, modelListSchema)).results).toMatchObject([{ name: "played" }]);
    await expectAnswer(await call("/healthz", { key: null }), 200, healthSchema);
    const path = `/v1/models/${MODEL.name}:${MODEL.version}/palette`;
    const palette = await expectAnswer(await call(path), 200, paletteSchema);
    expect(palette).toMatchObject({ classes: 129, mask: 128, latent_width: 2, rgb: MODEL.palette });
    const bare = { ...MODEL, ...PLAYED_MODELS.bare };
    delete bare.palette;
    await worker.announce(bare);
    await expect.poll(async () => (await call("/v1/models/vqd/bare")).status, { interval: 200 }).toBe(200);
    const missing = await call("/v1/models/vqd/bare/palette");
    expect((await expectAnswer(missing, 404, modelProblemSchema)).detail).toMatch(/has not published/);
  });

  it("for versions, deployments, hardware and collections", async () => {
    const versions = `/v1/models/${MODEL.name}/versions`;
    await expectAnswer(await call(versions), 200, versionListSchema);
    await expectAnswer(await call(`${versions}/${MODEL.version}`), 200, versionSchema);
    await expectAnswer(await call("/v1/deployments"), 200, deploymentListSchema);
    await expectAnswer(await call(`/v1/deployments/${MODEL.name}`), 200, deploymentSchema);
    await expectAnswer(await call("/v1/hardware"), 200, hardwareListSchema);
    await expectAnswer(await call("/v1/collections"), 200, collectionListSchema);
    const none = { input: { prompt: "a" } };
    const missing = await call("/v1/deployments/vqd/none/predictions", { json: none });
    await expectAnswer(missing, 404, problemSchema);
  });

  it("for errors in each dialect", async () => {
    await expectAnswer(await call("/v1/predictions", { json: {} }), 422, problemSchema);
    await expectAnswer(await call("/v1/images/generations", { json: {} }), 400, openaiErrorSchema);
    await expectAnswer(await call("/v1/models/vqd/none"), 404, modelProblemSchema);
    await expectAnswer(await call("/v1/models", { key: null }), 401, modelProblemSchema);
  });
});

describe("the pages", () => {
  it.each(["/", "/docs", "/console", "/status"])(
    "%s needs no key, and may load only its own files",
    async (path) => {
      const response = await call(path, { key: null });
      expect(response.status).toBe(200);
      expect(response.headers.get("content-type")).toMatch(/^text\/html/);
      const policy = response.headers.get("content-security-policy");
      expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'");
      expect(policy).not.toContain("unsafe");
      expect(response.headers.get("x-content-type-options")).toBe("nosniff");
      const html = await response.text();
      expect(html).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|https?:\/\//);
      const links = [...html.matchAll(/(?:src|href)="(assets\/[^"]+)"/g)].map(([, link]) => `/${link}`);
      expect(links.length).toBeGreaterThan(3);
      for (const link of links) {
        const asset = await call(link, { key: null });
        expect([link, asset.status]).toEqual([link, 200]);
        await asset.body?.cancel();
      }
    },
  );

  it("/docs lists every operation without scripts", async () => {
    const html = await (await call("/docs", { key: null })).text();
    const { paths } = await (await call("/openapi.json", { key: null })).json<Document>();
    const described = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const listed = [...html.matchAll(/<br><code>([^<]+)<\/code>/g)].map(([, line = ""]) => line);
    expect(listed.toSorted()).toEqual(described.toSorted());
  });

  it("are revalidated with 304, and anything else is 404", async () => {
    const first = await call("/assets/base.css", { key: null });
    expect(first.headers.get("content-type")).toMatch(/^text\/css/);
    const etag = first.headers.get("etag") ?? "";
    await first.body?.cancel();
    const again = await call("/assets/base.css", { key: null, headers: { "if-none-match": etag } });
    expect(again.status).toBe(304);
    const head = await call("/", { key: null, method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
    for (const path of [
      "/assets/none.js",
      "/assets/..%2Findex.html",
      "/index.html",
      "/assets/",
      "/tsconfig.json",
    ]) {
      const missing = await call(path, { key: null });
      expect([path, missing.status]).toEqual([path, 404]);
      expect(missing.headers.get("content-type")).toBe("application/problem+json");
      await missing.body?.cancel();
    }
  });
});
