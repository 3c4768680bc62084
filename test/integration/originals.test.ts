// Models of the original code base in one stack, by text, by class and without prompts: through curl, the clients and the playground,
// and past the death of a worker.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { InferenceClient } from "@huggingface/inference";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";
import { converted, enlarged } from "../support/originals.ts";
import { chromiumPath, launchBrowser, openPage } from "./support/browser.ts";
import { getPrediction, readEvents, stepNumbers, upTo } from "./support/client.ts";
import { openaiOf, replicateOf } from "./support/client-checks.ts";
import { startTestStack, type TestStack } from "./support/stack.ts";

const run = promisify(execFile);
const SETTINGS = { num_inference_steps: 6, seed: 5 };

let test: TestStack;
let folder: string;
let models: Record<"none" | "class" | "text", string>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vqd-originals-"));
  models = {
    none: await converted("none", await enlarged("none", 12, folder)),
    class: await converted("class", await enlarged("class", 16, folder)),
    text: join(folder, "text"),
  };
  await rename(await converted("text-gumbel"), models.text);
  const index = join(models.class, "model_index.json");
  const content = JSON.parse(await readFile(index, "utf8")) as object;
  await writeFile(index, JSON.stringify({ ...content, id2label: { 3: "goldfish, Carassius auratus" } }));
  // A short lease, so that the test does not wait for the default one.
  test = await startTestStack({
    model: Object.values(models).join(delimiter),
    workers: 2,
    leaseSeconds: 3,
  });
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
    ...(args.some((argument) => argument.startsWith("--infer-speed")) ? [] : ["--steps=6"]),
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

  const made: unknown = await huggingface(model).textToImage({ inputs: "", parameters: SETTINGS });
  expect((await blobPixels(made)).equals(expected)).toBe(true);
});

it("a prompt for it is refused", async () => {
  const { detail } = await curl({ model: "vqd/none", input: { prompt: "fox", ...SETTINGS } });
  expect(detail).toBe("input.prompt must be omitted: vqd/none takes no prompt");
});

/** The pixels of the image that a client of OpenAI or Hugging Face gets. */
const openaiPixels = async (body: { prompt: string } & Record<string, unknown>): Promise<Buffer> => {
  const { data } = await openaiOf(test).images.generate({ ...SETTINGS, ...body });
  return pixels(Buffer.from(data?.[0]?.b64_json ?? "", "base64"));
};
const huggingface = (model: string) =>
  new InferenceClient(test.apiKey, { endpointUrl: `${test.url}/models/${model}` });
const blobPixels = async (made: unknown): Promise<Buffer> =>
  pixels(new Uint8Array(await (made as Blob).arrayBuffer()));

it("an unconditional model varies an image in Hugging Face's dialect, which needs no prompt", async () => {
  const source = join(folder, "source.png");
  await sharp({ create: { width: 12, height: 12, channels: 3, background: "orange" } })
    .png()
    .toFile(source);
  const expected = await generated("none", `--image=${source}`, "--strength=0.5");
  const inputs = new Blob([new Uint8Array(await readFile(source))]);
  const client = huggingface("vqd/none");
  for (const parameters of [{ strength: 0.5 }, { prompt: "", strength: 0.5 }]) {
    const made = await client.imageToImage({ inputs, parameters: { ...SETTINGS, ...parameters } });
    expect((await blobPixels(made)).equals(expected)).toBe(true);
  }
  await expect(
    client.imageToImage({ inputs, parameters: { prompt: "fox", ...SETTINGS } }),
  ).rejects.toMatchObject({ message: expect.stringContaining("takes no prompt") as string });
});

it("a class model makes the command line's image of a class, by name and by label in each dialect", async () => {
  const expected = await generated("class", "3");
  expect((await generated("class", "--class-label=3")).equals(expected)).toBe(true);
  const model = "vqd/class";
  for (const given of [{ prompt: "Goldfish" }, { class_label: 3 }]) {
    const predicted = await curl({ model, input: { ...given, ...SETTINGS } });
    expect(predicted.status).toBe("succeeded");
    expect((await download(predicted.output[0])).equals(expected)).toBe(true);
  }
  for (const given of [{ prompt: "goldfish" }, { prompt: "", class_label: 3 }])
    expect((await openaiPixels({ model, ...given })).equals(expected)).toBe(true);
  const replicate = replicateOf(test);
  for (const given of [{ prompt: "goldfish" }, { class_label: 3 }]) {
    const ended = await replicate.wait(
      await replicate.predictions.create({ model, input: { ...given, ...SETTINGS } }),
    );
    expect((await download((ended.output as string[])[0])).equals(expected)).toBe(true);
  }
  const client = huggingface(model);
  for (const [inputs, parameters] of [
    ["goldfish", {}],
    ["", { class_label: 3 }],
  ] as const) {
    const made: unknown = await client.textToImage({ inputs, parameters: { ...SETTINGS, ...parameters } });
    expect((await blobPixels(made)).equals(expected)).toBe(true);
  }
  const { detail } = await curl({ model, input: { prompt: "wolf", ...SETTINGS } });
  expect(detail).toBe("input.prompt must be one of its 12 classes, by name or label");
});

it("a text model makes the command line's image, with the original's sampler too", async () => {
  const prompt = "A group of elephants walking in muddy water";
  const model = "vqd/text";
  const expected = await generated("text", prompt, "--guidance-scale=3");
  const predicted = await curl({ model, input: { prompt, guidance_scale: 3, ...SETTINGS } });
  expect((await download(predicted.output[0])).equals(expected)).toBe(true);
  expect((await openaiPixels({ model, prompt, guidance_scale: 3 })).equals(expected)).toBe(true);
  for (const [given, ...options] of [
    [{ infer_speed: 4 }, "--infer-speed=4"],
    [
      { infer_speed: 0.5, prior_rule: 2, prior_weight: 1 },
      "--infer-speed=0.5",
      "--prior-rule=2",
      "--prior-weight=1",
    ],
  ] as const) {
    const sampled = await generated("text", prompt, ...options);
    const made = await curl({ model, input: { prompt, seed: 5, ...given } });
    expect(made.status).toBe("succeeded");
    expect((await download(made.output[0])).equals(sampled)).toBe(true);
    expect(
      (await openaiPixels({ model, prompt, num_inference_steps: undefined, ...given })).equals(sampled),
    ).toBe(true);
  }
});

it.each([
  ["vqd/class", { class_label: 3, preset: "reference" }, 100],
  ["vqd/none", { infer_speed: 0.1, prior_rule: 2, prior_weight: 1 }, 136],
] as const)("a worker's death does not change the images of %s", async (model, given, steps) => {
  const input = { ...given, seed: 9, num_outputs: 8 };
  const predict = async (onStep: (steps: number, id: string) => Promise<void>): Promise<Buffer[]> => {
    const created = await replicateOf(test).predictions.create({ model, input });
    const events = [];
    for await (const event of readEvents(test, created.id)) {
      events.push(event);
      if (event.event === "step") await onStep(stepNumbers(events).length, created.id);
    }
    expect(stepNumbers(events)).toEqual(upTo(steps));
    const { status, output } = await getPrediction(test, created.id);
    expect(status).toBe("succeeded");
    return Promise.all((output ?? []).map(download));
  };
  const undisturbed = await predict(() => Promise.resolve());
  const startedOn = (id: string): string[] =>
    test.lines
      .filter(({ text }) => text.startsWith("job started") && text.includes(id))
      .map(({ source }) => source);
  const died: string[] = [];
  const resumed = await predict(async (done, id) => {
    if (done !== 3) return;
    // The log comes another way than the events, and may be behind them.
    await expect.poll(() => startedOn(id).length).toBe(1);
    died.push(id);
    await test.stack.workers[test.workerOf(id) - 1]?.kill("SIGKILL");
  });
  await expect.poll(() => new Set(startedOn(died[0] ?? "")).size).toBe(2);
  expect(resumed).toEqual(undisturbed);
  await test.stack.waitReady();
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
      await page.locator("#history-list a", { hasText: "vqd/none" }).first().click();
      await expect.poll(() => page.inputValue("#model")).toBe("vqd/none");
      await page.locator("#class").waitFor({ state: "hidden" });
      expect(troubles).toEqual([]);
    } finally {
      await browser.close();
    }
  });
});
