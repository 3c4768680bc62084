// Models of the original code base in one stack, by class and without prompts: through curl, the clients and the playground.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { InferenceClient } from "@huggingface/inference";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";
import { converted } from "../support/originals.ts";
import { chromiumPath, launchBrowser, openPage } from "./support/browser.ts";
import { openaiOf, replicateOf } from "./support/client-checks.ts";
import { startTestStack, type TestStack } from "./support/stack.ts";

const run = promisify(execFile);
const SETTINGS = { num_inference_steps: 6, seed: 5 };

let test: TestStack;
let folder: string;
let models: Record<"none" | "class", string>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vqd-originals-"));
  models = { none: await converted("none"), class: await converted("class") };
  const index = join(models.class, "model_index.json");
  const content = JSON.parse(await readFile(index, "utf8")) as object;
  await writeFile(index, JSON.stringify({ ...content, id2label: { 3: "goldfish, Carassius auratus" } }));
  test = await startTestStack({ model: Object.values(models).join(delimiter) });
});
afterAll(async () => {
  await test.stop();
  await rm(folder, { recursive: true });
});

/** Pixels of an image file. */
const pixels = (file: Uint8Array): Promise<Buffer> => sharp(file).removeAlpha().raw().toBuffer();
const download = async (url: string | undefined): Promise<Buffer> =>
  pixels(new Uint8Array(await (await fetch(url ?? "")).arrayBuffer()));

/** The pixels that the command line makes. */
async function generated(model: keyof typeof models, ...args: string[]): Promise<Buffer> {
  const out = join(folder, "image.png");
  await run(process.execPath, [
    join(REPO, "gpu-worker", "cli.ts"),
    "generate",
    ...args,
    `--model=${models[model]}`,
    "--seed=5",
    "--steps=6",
    `--cache=${test.cacheDir}`,
    `--out=${out}`,
  ]);
  return pixels(await readFile(out));
}

/** What curl is answered to a prediction. */
async function curl(body: object): Promise<{ status: string; output: string[]; detail?: string }> {
  const headers = [`authorization: Bearer ${test.apiKey}`, "content-type: application/json", "prefer: wait"];
  const { stdout } = await run("curl", [
    "--silent",
    "--show-error",
    ...headers.flatMap((header) => ["--header", header]),
    "--data",
    JSON.stringify(body),
    `${test.url}/v1/predictions`,
  ]);
  return JSON.parse(stdout) as Awaited<ReturnType<typeof curl>>;
}

it("an unconditional model makes the command line's image in each dialect, without a prompt", async () => {
  const expected = await generated("none");
  const model = "vqd/none";
  const predicted = await curl({ model, input: SETTINGS });
  expect(predicted.status).toBe("succeeded");
  expect((await download(predicted.output[0])).equals(expected)).toBe(true);

  const { data } = await openaiOf(test).images.generate({ model, prompt: "", ...SETTINGS } as object & {
    prompt: string;
  });
  const image = Buffer.from(data?.[0]?.b64_json ?? "", "base64");
  expect((await pixels(image)).equals(expected)).toBe(true);

  const replicate = replicateOf(test);
  const created = await replicate.predictions.create({ model, input: SETTINGS });
  const ended = await replicate.wait(created);
  expect((await download((ended.output as string[])[0])).equals(expected)).toBe(true);

  const huggingface = new InferenceClient(test.apiKey, { endpointUrl: `${test.url}/models/${model}` });
  const made: unknown = await huggingface.textToImage({
    inputs: "",
    parameters: SETTINGS,
  });
  const file = new Uint8Array(await (made as Blob).arrayBuffer());
  expect((await pixels(file)).equals(expected)).toBe(true);
});

it("a prompt for it is refused", async () => {
  const { detail } = await curl({ model: "vqd/none", input: { prompt: "fox", ...SETTINGS } });
  expect(detail).toBe("input.prompt must be omitted: vqd/none takes no prompt");
});

it("a class model makes the command line's image of a class", async () => {
  const expected = await generated("class", "3");
  expect((await generated("class", "--class-label=3")).equals(expected)).toBe(true);
  for (const given of [{ prompt: "Goldfish" }, { class_label: 3 }]) {
    const predicted = await curl({ model: "vqd/class", input: { ...given, ...SETTINGS } });
    expect(predicted.status).toBe("succeeded");
    expect((await download(predicted.output[0])).equals(expected)).toBe(true);
  }
});

describe.skipIf(chromiumPath === undefined)("the playground", () => {
  it("has no prompt for an unconditional model, makes its images and keeps them in the history", async () => {
    const browser = await launchBrowser();
    try {
      const link = `${test.url}/#model=vqd%2Fnone&key=${encodeURIComponent(test.apiKey)}`;
      const { page, troubles } = await openPage(browser, link);
      await page.click("#key-offer-use");
      await page.locator("#prompt").waitFor({ state: "hidden" });
      expect(await page.isVisible("#guidance")).toBe(false);
      await page.click("#make");
      await page.locator("#progress-text", { hasText: /^Done/ }).waitFor();
      await page.locator("#history-list", { hasText: "vqd/none" }).waitFor();
      await page.click("#more summary");
      await page.selectOption("#model", "vqd/class");
      await page.locator("#class").waitFor();
      await page.locator("#classes option").first().waitFor({ state: "attached" });
      await page.fill("#class", "goldfish");
      await page.click("#make");
      await page.locator("#history-list", { hasText: "goldfish" }).waitFor();
      await page.locator("#history-list button", { hasText: "vqd/none" }).click();
      await page.locator("#prompt").waitFor({ state: "hidden" });
      expect(await page.inputValue("#model")).toBe("vqd/none");
      expect(troubles).toEqual([]);
    } finally {
      await browser.close();
    }
  });
});
