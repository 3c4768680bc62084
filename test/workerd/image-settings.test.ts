// Settings in the files of images: whose prompt is in which file, and when none is.

import { env } from "cloudflare:workers";
import { createExecutionContext } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createApp } from "../../edge/app.ts";
import { call, IMAGE, KEY, ORIGIN, outputEvent, PlayedWorker, previewEvent, stepEvent } from "./support.ts";

/** A white pixel. */
const PNG = Uint8Array.from(
  atob("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTgMOwAAAABJRU5ErkJggg=="),
  (char) => char.charCodeAt(0),
);

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());

interface Prediction {
  id: string;
  status: string;
  output: string[];
}

/** Text of the files that are made of `input`, as Latin-1. */
async function filesOf(input: object): Promise<string[]> {
  const json = { input: { prompt: "a secret wish", num_inference_steps: 2, ...input } };
  const { id } = await (await call("/v1/predictions", { json })).json<Prediction>();
  const job = await worker.take({ id });
  expect(JSON.stringify(job)).not.toContain("wish");
  const images = job.prompts.length * job.numImagesPerPrompt;
  for (const step of [1, 2]) await worker.say(job, ...stepEvent(step, 2, images));
  for (let i = 0; i < images; i++) {
    const [said] = outputEvent(i, job.outputFormat);
    await worker.say(job, said, job.outputFormat === "png" ? PNG : IMAGE);
  }
  await worker.say(job, { type: "succeeded", predictSeconds: 0.1 });
  const read = async (): Promise<Prediction> => (await call(`/v1/predictions/${id}`)).json<Prediction>();
  await expect.poll(async () => (await read()).status).toBe("succeeded");
  return Promise.all((await read()).output.map((url) => fileText(url)));
}

async function fileText(url: string): Promise<string> {
  const bytes = await (await call(url.replace(ORIGIN, ""))).arrayBuffer();
  return Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join("");
}

describe("a PNG file", () => {
  it("holds the settings, unless the request says not", async () => {
    const [file = ""] = await filesOf({ seed: 5, negative_prompt: "hat", guidance_scale: 3 });
    expect(file).toContain("parameters\0a secret wish\nNegative prompt: hat\nSteps: 2, Sampler: confidence");
    expect(file).toContain("Seed: 5, Size: 16x16");
    expect(file).toContain("XML:com.adobe.xmp\0");
    const [bare = ""] = await filesOf({ embed_settings: false });
    expect(bare).toHaveLength(PNG.length);
  });

  it("holds only the prompt and the seed of its own image", async () => {
    const files = await filesOf({
      prompt: ["a red wish", "a blue wish"],
      num_outputs: 2,
      seeds: [1, 2, 1, 3],
    });
    const found = files.map((file) => [
      /parameters\0a (\w+) wish/.exec(file)?.[1],
      /Seed: (\d+)/.exec(file)?.[1],
      /Batch pos: (\d+)/.exec(file)?.[1],
    ]);
    expect(found).toEqual([
      ["red", "1", undefined],
      ["red", "2", undefined],
      ["blue", "1", "1"],
      ["blue", "3", undefined],
    ]);
    expect(files[0]).not.toContain("blue");
  });

  it("of a preview holds none, and other formats hold none", async () => {
    const [file = ""] = await filesOf({ output_format: "webp" });
    expect(file).toHaveLength(IMAGE.length);
    const json = { input: { prompt: "a secret wish", num_inference_steps: 2, num_previews: 1 } };
    const { id } = await (await call("/v1/predictions", { json })).json<Prediction>();
    const job = await worker.take({ id });
    const [said] = previewEvent(0, 1);
    await worker.say(job, ...stepEvent(1, 2));
    await worker.say(job, said, PNG);
    await worker.play(job);
    const events = await (await call(`/v1/predictions/${id}/events`)).text();
    const url = /event: preview\ndata: .*"url":"([^"]+)"/.exec(events)?.[1] ?? "";
    expect(await fileText(url)).toHaveLength(PNG.length);
  });
});

describe("a request for settings", () => {
  it("is refused where there would be none", async () => {
    const json = { input: { prompt: "a", output_format: "jpg", embed_settings: true } };
    expect(await (await call("/v1/predictions", { json })).json()).toMatchObject({
      status: 422,
      errors: [{ path: "input.embed_settings", message: /must be false or omitted for jpeg/ }],
    });
  });

  it("is refused by a service that is set to have none, which are then the default", async () => {
    const bindings = { ...env, EMBED_SETTINGS: "false" };
    const ask = (input: object): Promise<Response> =>
      Promise.resolve(
        createApp().fetch(
          new Request(`${ORIGIN}/v1/predictions`, {
            method: "POST",
            headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json" },
            body: JSON.stringify({ input: { prompt: "a", ...input } }),
          }),
          bindings,
          createExecutionContext(),
        ),
      );
    expect(await (await ask({ embed_settings: true })).json()).toMatchObject({
      status: 422,
      errors: [{ path: "input.embed_settings", message: /this service puts no settings/ }],
    });
    const { id, input } = await (await ask({})).json<Prediction & { input: object }>();
    expect(input).toMatchObject({ embed_settings: false });
    await call(`/v1/predictions/${id}`, { method: "DELETE" });
  });
});
