// Hugging Face's InferenceClient for JavaScript with this service as its endpoint; clients-python.test.ts has that for Python.

import { InferenceClient } from "@huggingface/inference";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { request } from "./support/client.ts";
import { generate, INPUT, openaiOf, replicateOf } from "./support/client-checks.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const MODEL = "vqd/checkpoint";
const { prompt, ...parameters } = INPUT;
/** Until a prediction that nobody works at is given up. */
const QUEUE_SECONDS = 15;

let test: TestStack;
beforeAll(async () => {
  const edgeEnv = {
    MODEL_ALIASES: `black-forest-labs/FLUX.1-dev=${MODEL}`,
    QUEUE_TIMEOUT_SECONDS: String(QUEUE_SECONDS),
    MAX_WAIT_SECONDS: "120",
  };
  test = await startTestStack({ workers: 0, model: TINY_MODEL, edgeEnv });
});
afterAll(() => test.stop());

const expected = async (): Promise<Buffer> =>
  Buffer.from((await generate(openaiOf(test))).data?.[0]?.b64_json ?? "", "base64");

/** What `textToImage` makes of the body at a path. */
async function textToImage(path: string, changes: object = {}): Promise<Buffer> {
  const client = new InferenceClient(test.apiKey, { endpointUrl: test.url + path, retry_on_error: false });
  const image: unknown = await client.textToImage({
    inputs: prompt,
    parameters: { ...parameters, ...changes },
  });
  return Buffer.from(await (image as Blob).arrayBuffer());
}

describe("while no worker has announced a model", () => {
  it("the answer is 503 with an estimated time, or waits if asked to", async () => {
    const loading = await request(test, "/", { inputs: prompt });
    expect(loading.status).toBe(503);
    expect(await loading.json()).toEqual({
      error: expect.stringContaining("no worker") as string,
      error_type: "no_worker",
      estimated_time: 20,
    });
    await expect(textToImage("/")).rejects.toMatchObject({ httpResponse: { status: 503 } });
    const waiting = request(
      test,
      "/",
      { inputs: prompt, parameters },
      { headers: { "x-wait-for-model": "true" } },
    );
    await test.stack.addWorker();
    const response = await waiting;
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("image/png");
    expect(response.headers.get("x-prediction-id")).toMatch(/^\w{26}$/);
    // For pages.
    expect(response.headers.get("access-control-expose-headers")).toContain("x-prediction-id");
    expect(Buffer.from(await response.arrayBuffer()).equals(await expected())).toBe(true);
  });
});

describe("JavaScript", () => {
  it.each(["/", `/models/${MODEL}`, "/models/black-forest-labs/FLUX.1-dev"])(
    "makes the image that the other dialects make, at %s",
    async (path) => expect((await textToImage(path)).equals(await expected())).toBe(true),
  );

  it("asks for a size, and has the image resampled", async () => {
    const image = await textToImage("/", { width: 64, height: 64 });
    expect(await sharp(image).metadata()).toMatchObject({ width: 64, height: 64, format: "png" });
  });

  it("starts from an image", async () => {
    const image = new Uint8Array(await expected());
    const client = new InferenceClient(test.apiKey, { endpointUrl: test.url, retry_on_error: false });
    const imageToImage = async (changes: object = {}): Promise<Buffer> => {
      const made = await client.imageToImage({
        inputs: new Blob([image], { type: "image/png" }),
        parameters: { prompt, ...parameters, strength: 0.5, ...changes },
      });
      return Buffer.from(await made.arrayBuffer());
    };
    const small = await imageToImage();
    expect(await sharp(small).metadata()).toMatchObject({ width: 16, height: 16, format: "png" });
    expect(
      await imageToImage({ target_size: { width: 64, height: 64 } }).then((made) => sharp(made).metadata()),
    ).toMatchObject({ width: 64 });
    expect((await imageToImage({ strength: 1 })).equals(small)).toBe(false);
    await expect(
      client.imageToImage({ inputs: new Blob(["text"]), parameters: { prompt } }),
    ).rejects.toMatchObject({
      message: expect.stringContaining("inputs must be a PNG") as string,
      httpResponse: { status: 422 },
    });
    // Without parameters the client sends the image as it is.
    const inputs = new Blob([image], { type: "image/png" });
    await expect(client.imageToImage({ inputs })).rejects.toMatchObject({
      message: expect.stringContaining("image to image needs parameters.prompt") as string,
      httpResponse: { status: 415 },
    });
    await expect(
      client.imageToImage({ inputs: new Blob([new Uint8Array(4_000)]), parameters: { strength: 0.5 } }),
    ).rejects.toThrow(/parameters.strength requires parameters.prompt/);
  });

  it("gets errors that name the field", async () => {
    await expect(textToImage("/", { guidance_scale: 99 })).rejects.toMatchObject({
      message: expect.stringContaining("parameters.guidance_scale must be at most 20") as string,
      httpResponse: { status: 422 },
    });
    await expect(textToImage("/", { colour: "red" })).rejects.toThrow(
      /parameters.colour is not a known field/,
    );
    await expect(textToImage("/models/vqd/none")).rejects.toMatchObject({ httpResponse: { status: 404 } });
    const stranger = new InferenceClient("hf_wrong", { endpointUrl: test.url });
    await expect(stranger.textToImage({ inputs: prompt })).rejects.toMatchObject({
      httpResponse: { status: 401 },
    });
  });

  it("that disconnects has its prediction canceled", async () => {
    const leaving = new AbortController();
    // The worker has others to make first, so that the client is gone before its own is made.
    const replicate = replicateOf(test);
    const first = { prompt, num_outputs: 10, num_inference_steps: 100 };
    const others = await Promise.all(
      [1, 2, 3].map((seed) => replicate.predictions.create({ model: MODEL, input: { ...first, seed } })),
    );
    const client = new InferenceClient(test.apiKey, { endpointUrl: test.url });
    const slow = { inputs: prompt, parameters: { ...parameters, num_inference_steps: 100, seed: 4_711 } };
    const made = client.textToImage(slow, { signal: leaving.signal }).catch((error: unknown) => error);
    const newest = async () => (await replicate.predictions.list()).results[0];
    await expect.poll(newest, { interval: 20 }).toMatchObject({ input: { seed: 4_711 } });
    leaving.abort();
    expect(await made).toBeInstanceOf(Error);
    await expect.poll(async () => (await newest())?.status).toBe("canceled");
    await Promise.all(others.map(({ id }) => replicate.predictions.cancel(id)));
  });

  it("chooses the format by Accept, and is told what had no effect", async () => {
    for (const format of ["webp", "jpeg"] as const) {
      const body = { inputs: prompt, options: { use_cache: false } };
      const response = await request(test, "/", body, { headers: { accept: `image/${format}` } });
      expect(response.headers.get("content-type")).toBe(`image/${format}`);
      expect(response.headers.get("x-ignored-parameters")).toBe("options.use_cache");
      expect(await sharp(await response.arrayBuffer()).metadata()).toMatchObject({ format });
    }
  });
});

// The last one here: from now on nobody works.
it("a job that no worker starts in time is late, so that the client does not try again", async () => {
  await test.stack.workers[0]?.stop();
  const client = new InferenceClient(test.apiKey, { endpointUrl: test.url });
  await expect(client.textToImage({ inputs: prompt })).rejects.toMatchObject({
    message: expect.stringContaining(`within ${QUEUE_SECONDS} s`) as string,
    httpResponse: { status: 504 },
  });
  const { results } = await replicateOf(test).predictions.list();
  expect(results[0]).toMatchObject({ status: "failed", error_code: "no_worker" });
  expect(results[1]).toMatchObject({ status: expect.not.stringMatching("failed") as string });
});
