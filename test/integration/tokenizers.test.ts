// Models with different vocabularies in one stack: the edge makes the ids of each, as the command line does.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";
import { request } from "./support/client.ts";
import { startTestStack, type TestStack, TINY_MODEL } from "./support/stack.ts";
import { writeTokenizerModel } from "./support/tokenizer-models.ts";

let test: TestStack;
let folder: string;
/** Folders by the name under which they are served. */
let models: Record<string, string>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vqd-tokenizers-"));
  models = {
    "vqd/checkpoint": TINY_MODEL,
    "vqd/own": await writeTokenizerModel(join(folder, "own"), "own", 512),
    "vqd/inversion": await writeTokenizerModel(join(folder, "inversion"), "five-inversion", 49_411),
  };
  test = await startTestStack({ model: Object.values(models).join(delimiter) });
});
afterAll(async () => {
  await test.stop();
  await rm(folder, { recursive: true });
});

/** The image's bytes, and the number of tokens of the prompt. */
async function served(model: string, prompt: string): Promise<{ image: Buffer; tokens: unknown }> {
  const json = { model, input: { prompt, seed: 5, num_inference_steps: 6, guidance_scale: 5 } };
  const response = await request(test, "/v1/predictions", json, { headers: { prefer: "wait" } });
  const body = (await response.json()) as { output: string[]; metrics: Record<string, unknown> };
  expect(body).toMatchObject({ status: "succeeded", error: null });
  const { output, metrics } = body;
  const image = Buffer.from(await (await fetch(output[0] ?? "")).arrayBuffer());
  return { image, tokens: metrics["prompt_tokens"] };
}

async function generated(model: string, prompt: string): Promise<Buffer> {
  const out = join(folder, "image.png");
  await promisify(execFile)(process.execPath, [
    join(REPO, "gpu-worker", "cli.ts"),
    "generate",
    prompt,
    `--model=${models[model] ?? ""}`,
    "--seed=5",
    "--steps=6",
    "--guidance-scale=5",
    `--cache=${test.cacheDir}`,
    `--out=${out}`,
  ]);
  return readFile(out);
}

it("are all announced", async () => {
  const listed = (await (await request(test, "/v1/models")).json()) as { data: { id: string }[] };
  expect(listed.data.map(({ id }) => id).toSorted()).toEqual(Object.keys(models).toSorted());
});

it.each([
  ["vqd/checkpoint", 11],
  // Its vocabulary lacks most symbols of the prompt, and knows no added token.
  ["vqd/own", 15],
  // <cat-toy> is one token.
  ["vqd/inversion", 7],
])("%s gives the image of the command line", async (model, count) => {
  const prompt = "a red fox, <cat-toy>";
  const { image, tokens } = await served(model, prompt);
  expect(image.equals(await generated(model, prompt))).toBe(true);
  expect(tokens).toBe(count);
});

it("the tokenizer decides the image: the weights are the same", async () => {
  const images = await Promise.all(
    Object.keys(models).map(async (model) => (await served(model, "two foxes in the <cat-toy>")).image),
  );
  const distinct = new Set(images.map((image) => image.toString("base64")));
  expect(distinct.size).toBe(images.length);
});
