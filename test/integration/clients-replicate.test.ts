// Replicate's resources beside predictions, by its own client and by the AI SDK's provider for it.

import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createReplicate } from "@ai-sdk/replicate";
import { generateImage } from "ai";
import type { default as Replicate, FileOutput } from "replicate";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate, INPUT, openaiOf, replicateOf } from "./support/client-checks.ts";
import { request } from "./support/client.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const MODEL = "vqd/checkpoint";
const [OWNER, NAME] = ["vqd", "checkpoint"];
const NONE = { previous: null, next: null, results: [] };

let test: TestStack;
let replicate: Replicate;
const models = mkdtempSync(join(tmpdir(), "vqd-models-"));
const README =
  "---\nwidget:\n  - text: fox, flat style\nvqd:\n  note: Animals and vehicles.\n  presets: [fast]\n---\n";
beforeAll(async () => {
  const model = join(models, NAME);
  cpSync(TINY_MODEL, model, { recursive: true });
  writeFileSync(join(model, "README.md"), README);
  test = await startTestStack({ model });
  replicate = replicateOf(test);
});
afterAll(async () => {
  await test.stop();
  rmSync(models, { recursive: true });
});

const sizeOf = async (image: Uint8Array): Promise<string> => {
  const { width, height } = await sharp(image).metadata();
  return `${width}x${height}`;
};
const newest = async () => (await replicate.predictions.list()).results[0];

describe("the AI SDK's provider", () => {
  const image = (model: string, options: object = {}) =>
    generateImage({
      model: createReplicate({ apiToken: test.apiKey, baseURL: `${test.url}/v1` }).image(model),
      prompt: INPUT.prompt,
      maxRetries: 0,
      ...options,
    });

  it("makes images with its own settings: proportions, seed, number, size", async () => {
    const options = { aspectRatio: "1:1", seed: 7, n: 2, maxImagesPerCall: 2 };
    const { images } = await image(MODEL, options);
    expect(images).toHaveLength(2);
    for (const { uint8Array } of images) expect(await sizeOf(uint8Array)).toBe("16x16");
    expect(await newest()).toMatchObject({ input: { seed: 7, num_outputs: 2 } });
    const twice = await image(MODEL, { ...options, size: "32x32" });
    expect(await Promise.all(twice.images.map(({ uint8Array }) => sizeOf(uint8Array)))).toEqual([
      "32x32",
      "32x32",
    ]);
  });

  it("sends a version, a format and how long it waits", async () => {
    const version = (await replicate.models.get(OWNER, NAME)).latest_version?.id ?? "";
    const replicateOptions = { output_format: "jpg", num_inference_steps: 3, maxWaitTimeInSeconds: 30 };
    const made = await image(`${MODEL}:${version}`, { providerOptions: { replicate: replicateOptions } });
    expect(await sharp(made.image.uint8Array).metadata()).toMatchObject({ format: "jpeg" });
    expect(await newest()).toMatchObject({ version, input: { num_inference_steps: 3 } });
  });

  it.each([
    [{ aspectRatio: "16:9" }, "input.aspect_ratio must be 1:1 or omitted"],
    [{ size: "64x32" }, "input.size must have the proportions of vqd/checkpoint's images, 16x16"],
    [{ size: "9999x9999" }, "input.size must have at most 1536 pixels per side"],
  ])("%o is refused with the reason", async (options, reason) => {
    await expect(image(MODEL, options)).rejects.toThrow(reason);
  });
});

it("versions, by list and by id", async () => {
  const { results } = await replicate.models.versions.list(OWNER, NAME);
  expect(results).toHaveLength(1);
  const [version] = results;
  expect(version).toEqual((await replicate.models.get(OWNER, NAME)).latest_version);
  expect(await replicate.models.versions.get(OWNER, NAME, version?.id ?? "")).toEqual(version);
  expect(version?.openapi_schema).toHaveProperty("components.schemas.Input.properties.prompt");
  await expect(replicate.models.versions.get(OWNER, NAME, "0".repeat(64))).rejects.toThrow(/404/);
  await expect(replicate.models.versions.list(OWNER, "none")).rejects.toThrow(/404/);
});

it.each([
  ["vqd", 1],
  ["CHECK diffusion", 1],
  ["", 1],
  ["vehicles fox", 1],
  ["vqd flux", 0],
])("models with the words %o: %d", async (words, count) => {
  const { results } = await replicate.models.search(words);
  expect(results.map(({ owner, name }) => `${owner}/${name}`)).toEqual(count === 1 ? [MODEL] : []);
});

it("models have the card of their README", async () => {
  expect(await replicate.models.get(OWNER, NAME)).toMatchObject({
    card: { examples: ["fox, flat style"], note: "Animals and vehicles.", presets: ["fast"] },
  });
});

it("a search too long is refused, and one needs a key that reads", async () => {
  await expect(replicate.models.search("a".repeat(1_001))).rejects.toThrow(/422.*at most 1000 characters/s);
  const keyless = await request(test, "/v1/models", undefined, {
    method: "QUERY",
    body: "vqd",
    headers: { authorization: "Bearer none" },
  });
  expect(keyless.status).toBe(401);
});

describe("deployments", () => {
  it("every model has one", async () => {
    const { results } = await replicate.deployments.list();
    const version = (await replicate.models.get(OWNER, NAME)).latest_version?.id;
    expect(results).toMatchObject([
      { owner: OWNER, name: NAME, current_release: { number: 1, model: MODEL, version } },
    ]);
    expect(await replicate.deployments.get(OWNER, NAME)).toEqual(results[0]);
    await expect(replicate.deployments.get(OWNER, "none")).rejects.toThrow(/404/);
  });

  it("a prediction through it is one with the model", async () => {
    const created = await replicate.deployments.predictions.create(OWNER, NAME, { input: INPUT, wait: true });
    expect(created).toMatchObject({ status: "succeeded", model: MODEL });
    const response = await fetch((created.output as string[])[0] ?? "");
    const expected = (await generate(openaiOf(test))).data?.[0]?.b64_json;
    expect(Buffer.from(await response.arrayBuffer()).toString("base64")).toBe(expected);
    const unknown = replicate.deployments.predictions.create(OWNER, "none", { input: INPUT });
    await expect(unknown).rejects.toThrow(/404/);
  });

  it("is not changed through the API", async () => {
    const change = replicate.deployments.update(OWNER, NAME, { max_instances: 2 });
    await expect(change).rejects.toThrow(/405/);
    await expect(replicate.deployments.delete(OWNER, NAME)).rejects.toThrow(/405/);
  });
});

it("what there is none of is an empty list, or not found", async () => {
  expect(await replicate.hardware.list()).toEqual([]);
  expect(await replicate.collections.list()).toEqual(NONE);
  await expect(replicate.collections.get("text-to-image")).rejects.toThrow(/404/);
  await expect(replicate.trainings.list()).rejects.toThrow(/404/);
  expect(await replicate.accounts.current()).toMatchObject({ type: "user" });
});

describe("run, from http", () => {
  it("gives links, since the client makes files of https and data URLs only", async () => {
    const [link] = (await replicate.run(MODEL, { input: INPUT })) as string[];
    expect(link).toMatch(/^http:/);
  });

  it("gives files where data URLs are asked for", async () => {
    const options = { input: { ...INPUT, output_format: "webp" }, output_encoding: "data-uri" };
    const [file] = (await replicate.run(MODEL, options)) as FileOutput[];
    const bytes = await ((await file?.blob()) ?? new Blob()).arrayBuffer();
    expect(await sharp(bytes).metadata()).toMatchObject({ format: "webp", width: 16 });
    expect((await newest())?.output).toEqual([expect.stringMatching(/^http:.*\.webp$/)]);
  });

  it("refuses data URLs where nobody waits for the images", async () => {
    const options = { model: MODEL, input: INPUT, output_encoding: "data-uri" };
    const create = replicate.predictions.create(options);
    await expect(create).rejects.toThrow(/output_encoding requires the header Prefer: wait/);
  });
});
