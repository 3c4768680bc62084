// Hugging Face's InferenceClient, for JavaScript and for Python, with this service as its endpoint.

import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { InferenceClient } from "@huggingface/inference";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { request } from "./support/client.ts";
import { generate, INPUT, openaiOf, replicateOf } from "./support/client-checks.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const run = promisify(execFile);
const MODEL = "vqd/checkpoint";
const { prompt, ...parameters } = INPUT;
const PIP_LIMIT_MS = 240_000;

let test: TestStack;
beforeAll(async () => {
  const edgeEnv = { MODEL_ALIASES: `black-forest-labs/FLUX.1-dev=${MODEL}` };
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

const PYTHON = `
import sys
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
url, key, path = sys.argv[1:]
client = InferenceClient(model=url, token=key)
client.text_to_image("${prompt}", num_inference_steps=12, guidance_scale=3, seed=7, width=32).save(path)
try:
    client.text_to_image("a", num_inference_steps=0)
except HfHubHTTPError as error:
    print(error.response.status_code, error)
`;

describe("Python", () => {
  let folder: string;
  let missing: string | undefined;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "vqd-python-"));
    const packages = ["huggingface_hub", "pillow"];
    const args = ["-m", "pip", "install", "--quiet", "--target", join(folder, "packages"), ...packages];
    await run("python3", args, { timeout: PIP_LIMIT_MS }).catch((error: Error) => {
      missing = `no Python with pip that can install ${packages.join(" and ")}: ${error.message.slice(0, 200)}`;
    });
  }, PIP_LIMIT_MS);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("makes an image, and gets errors that name the field", async (context) => {
    if (missing !== undefined) return context.skip(missing);
    const [script, image] = [join(folder, "client.py"), join(folder, "image.png")];
    await writeFile(script, PYTHON);
    const env = { ...process.env, PYTHONPATH: join(folder, "packages"), HF_HOME: folder };
    const { stdout } = await run("python3", [script, test.url, test.apiKey, image], { env });
    expect(stdout).toMatch(/^422 /);
    expect(stdout).toContain("parameters.num_inference_steps must be at least 1");
    const resampled = await generate(openaiOf(test), { size: "32x32" });
    const pixels = (file: string | Buffer): Promise<Buffer> => sharp(file).raw().toBuffer();
    const wanted = await pixels(Buffer.from(resampled.data?.[0]?.b64_json ?? "", "base64"));
    expect((await pixels(image)).equals(wanted)).toBe(true);
  });
});
