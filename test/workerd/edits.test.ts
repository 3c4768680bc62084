// Predictions that start from something: what the job then has, what the record says, what is kept and for how long.

import { env } from "cloudflare:workers";
import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { predictionSchema } from "../../edge/api-docs/answers.ts";
import { encodeBase64 } from "../../edge/util/bytes.ts";
import { encodeTokensFile } from "../../shared/editing/tokens-file.ts";
import { MAX_SOURCE_BYTES } from "../../shared/limits.ts";
import { call, hubOf, MODEL, ORIGIN, PlayedWorker, stepEvent } from "./support.ts";

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());
/** What is not played to its end counts as waiting in the queue. */
const made: string[] = [];
afterEach(async () => {
  for (const id of made.splice(0))
    await (await call(`/v1/predictions/${id}`, { method: "DELETE" })).body?.cancel();
});

interface Prediction {
  id: string;
  status: string;
  input: Record<string, unknown> & { image?: string; mask?: string; tokens?: string };
  output: string[] | null;
  error: string | null;
}
interface Problem {
  code: string;
  detail: string;
  errors?: { path: string; message: string }[];
}

const PNG = "\x89PNG\r\n\x1a\n";
/** Begins like a PNG file; nobody here looks further. */
function image(length = 60, fill = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length).fill(fill);
  bytes.set(Uint8Array.from(PNG, (char) => char.charCodeAt(0)));
  return bytes;
}
const dataUrl = (bytes: Uint8Array): string => `data:image/png;base64,${encodeBase64(bytes)}`;
const [IMAGE, MASK] = [image(60, 1), image(40, 2)];

const predict = (input: object, headers: Record<string, string> = {}, key?: string): Promise<Response> =>
  call("/v1/predictions", { json: { input }, headers, ...(key === undefined ? {} : { key }) });
async function created(input: object, headers?: Record<string, string>, key?: string): Promise<Prediction> {
  const response = await predict(input, headers, key);
  const body = await response.json<Prediction>();
  expect([response.status, body]).toEqual([201, expect.anything()]);
  made.push(body.id);
  expect(predictionSchema.safeParse(body).error?.issues).toBeUndefined();
  return body;
}
const path = (url: string | undefined): string => (url ?? "").slice(ORIGIN.length);
const get = async (id: string): Promise<Prediction> =>
  (await call(`/v1/predictions/${id}`)).json<Prediction>();
const bytesAt = async (url: string | undefined): Promise<Uint8Array> =>
  new Uint8Array(await (await call(path(url), { key: null })).arrayBuffer());
async function upload(bytes: Uint8Array<ArrayBuffer>, key = "test-key") {
  const form = new FormData();
  form.append("content", new Blob([bytes]), "a.png");
  const response = await call("/v1/files", { method: "POST", body: form, key });
  return response.json<{ id: string; urls: { get: string; download: string } }>();
}

describe("an image and a mask", () => {
  it("follow the job, and are linked in the record, which can be sent again", async () => {
    const input = { prompt: "a hat", image: dataUrl(IMAGE), mask: dataUrl(MASK), seed: 901 };
    const { id, input: echo } = await created(input);
    const job = await worker.take({ id });
    expect(job.source).toEqual({
      type: "image",
      bytes: IMAGE.length,
      mask: { type: "file", channel: "luminance", bytes: MASK.length },
      strength: 1,
      blend: { feather: 4 },
    });
    expect(worker.attachment).toEqual(Uint8Array.of(...IMAGE, ...MASK));
    expect(echo).toMatchObject({ strength: 1, mask_channel: "luminance", feather: 4 });
    expect(await bytesAt(echo.image)).toEqual(IMAGE);
    expect(await bytesAt(echo.mask)).toEqual(MASK);
    await worker.play(job);
    await expect.poll(async () => (await get(id)).status).toBe("succeeded");
    const { output } = await get(id);
    // A link to an output does not lead to what it was made from.
    const capability = (url: string | undefined): string => path(url).split("/")[3] ?? "";
    expect(capability(output?.[0])).not.toBe(capability(echo.image));

    const again = await created(echo);
    const twin = await worker.take({ id: again.id });
    expect(twin.source).toEqual(job.source);
    expect(worker.attachment).toEqual(Uint8Array.of(...IMAGE, ...MASK));
    expect({ ...again.input, image: "", mask: "" }).toEqual({ ...echo, image: "", mask: "" });
    expect(again.input.image).not.toBe(echo.image);
  });

  it.each<[string, object, object, object]>([
    ["just an image", {}, { strength: 0.8 }, { strength: 0.8 }],
    ["a strength", { strength: 0.25 }, { strength: 0.25 }, { strength: 0.25 }],
    [
      "the image's own alpha",
      { mask_channel: "alpha" },
      { strength: 0.8, mask: { type: "image_alpha" }, blend: { feather: 4 } },
      { mask_channel: "alpha", strength: 0.8, feather: 4 },
    ],
    ["no prompt", { prompt: null }, { strength: 0.8 }, { prompt: null, guidance_scale: 1, strength: 0.8 }],
    [
      "tokens as output",
      { output_format: "tokens", strength: 0 },
      { strength: 0 },
      { output_format: "tokens" },
    ],
  ])("may be %s", async (_, given, source, echo) => {
    const { id, input } = await created({ prompt: "a", image: dataUrl(IMAGE), ...given });
    const job = await worker.take({ id });
    expect(job.source).toEqual({ type: "image", bytes: IMAGE.length, ...source });
    expect(input).toMatchObject(echo);
  });

  it("may be uploaded, and have been made here before, by their owner", async () => {
    const file = await upload(IMAGE);
    for (const link of [file.urls.get, file.urls.download]) {
      const { id } = await created({ prompt: "a", image: link });
      await worker.take({ id });
      expect(worker.attachment).toEqual(IMAGE);
    }
    // Without the file the prediction still has its copy.
    const { input } = await created({ prompt: "a", image: file.urls.get });
    await call(`/v1/files/${file.id}`, { method: "DELETE" });
    expect(await bytesAt(input.image)).toEqual(IMAGE);
    const foreign = await upload(IMAGE, "other-key");
    for (const link of [foreign.urls.get, file.urls.get, file.urls.download, `${ORIGIN}/v1/models`]) {
      const response = await predict({ prompt: "a", image: link });
      expect(response.status).toBe(422);
      expect((await response.json<Problem>()).errors).toEqual([
        { path: "input.image", message: "names a file that does not exist or has expired" },
      ]);
    }
    // Whoever has a capability may read what it leads to.
    await created({ prompt: "a", image: foreign.urls.download });
  });

  it("have one idempotency key by what they hold, whatever their names", async () => {
    const headers = { "idempotency-key": crypto.randomUUID() };
    const [one, two] = [await upload(IMAGE), await upload(IMAGE)];
    const first = await created({ prompt: "a", image: one.urls.get }, headers);
    for (const link of [one.urls.get, two.urls.download, dataUrl(IMAGE), first.input.image]) {
      const again = await predict({ prompt: "a", image: link }, headers);
      expect([again.status, (await again.json<Prediction>()).id]).toEqual([200, first.id]);
    }
    const other = await predict({ prompt: "a", image: dataUrl(MASK) }, headers);
    expect(other.status).toBe(422);
    expect(await other.json()).toMatchObject({ code: "idempotency_key_reused" });
  });

  it("are gone when the prediction is deleted, and when its images expire", async () => {
    const count = async (url: string | undefined): Promise<number> => {
      const { objects } = await env.FILES.list({ prefix: `${path(url).split("/")[3]}/` });
      return objects.length;
    };
    const deleted = await created({ prompt: "a", image: dataUrl(IMAGE), mask: dataUrl(MASK) });
    expect(await count(deleted.input.image)).toBe(2);
    await call(`/v1/predictions/${deleted.id}`, { method: "DELETE" });
    expect(await count(deleted.input.image)).toBe(0);

    const ended = await created({ prompt: "a", image: dataUrl(IMAGE) });
    await call(`/v1/predictions/${ended.id}/cancel`, { method: "POST" });
    expect(await count(ended.input.image)).toBe(1);
    const hub = hubOf("test");
    await runInDurableObject(hub, (_, state) => {
      const change = "UPDATE predictions SET completed_at = completed_at - 86400000 WHERE id = ?";
      state.storage.sql.exec(change, ended.id);
      return state.storage.setAlarm(Date.now() + 60_000);
    });
    await runDurableObjectAlarm(hub);
    expect(await count(ended.input.image)).toBe(0);
    const again = await predict((await get(ended.id)).input);
    expect((await again.json<Problem>()).errors?.[0]).toMatchObject({ path: "input.image" });
  });

  it("wait with their job in the hub, also through its death", { timeout: 60_000 }, async () => {
    const big = image(1_000_000, 3);
    const input = { prompt: "a", image: dataUrl(big), seed: 950, num_inference_steps: 1 };
    const ids: string[] = [];
    // More than the workers' queue is given at once.
    for (let i = 0; i < 16; i++) ids.push((await created(input)).id);
    await abortAllDurableObjects();
    const seen: string[] = [];
    for (const id of ids) {
      const job = await worker.take({ seed: 950 });
      seen.push(job.id);
      expect(worker.attachment).toEqual(big);
      await worker.play(job);
      await expect.poll(async () => (await get(job.id)).status).toBe("succeeded");
      expect(ids).toContain(id);
    }
    expect(seen.toSorted()).toEqual(ids.toSorted());
  });
});

describe("an image elsewhere", () => {
  const source = (query: Record<string, string> = {}, port = env.RECEIVER_PORT): string =>
    `http://127.0.0.1:${port}/image?${new URLSearchParams(query).toString()}`;

  it("is fetched, also where its server says that it has moved", async () => {
    for (const url of [
      source(),
      source({ status: "302", location: source({}, env.SECOND_RECEIVER_PORT) }),
      source({ status: "307", location: "/image" }),
    ]) {
      const { id, input } = await created({ prompt: "a", image: url });
      await worker.take({ id });
      expect(worker.attachment).toEqual(image(60, 1));
      expect(await bytesAt(input.image)).toEqual(image(60, 1));
    }
  });

  it.each<[string, string, RegExp]>([
    ["does not exist", source({ status: "404" }), /its server answers 404/],
    ["needs a key", source({ status: "401" }), /its server answers 401/],
    ["is a redirect to nowhere", source({ status: "302" }), /its server answers 302/],
    [
      "is a redirect to a private address",
      source({ status: "302", location: "https://10.0.0.1/image" }),
      /redirected to what must not be a private address/,
    ],
    [
      "is a redirect to a file",
      source({ status: "302", location: "file:///etc/passwd" }),
      /must be an https URL/,
    ],
    [
      "redirects again and again",
      source({
        status: "302",
        location: source({
          status: "302",
          location:
            "/image?status=302&location=/image%3Fstatus%3D302%26location%3D/image%253Fstatus%253D302%2526location%253D/image",
        }),
      }),
      /more than 3 times/,
    ],
    ["is too large", source({ size: "5000000" }), /at most 4194304 bytes/],
    ["is a page", source({ text: "<!doctype html>" }), /must be a PNG/],
    ["is not answered", "http://127.0.0.1:1024/image", /no connection/],
  ])("that %s is refused", async (_, url, message) => {
    const response = await predict({ prompt: "a", image: url });
    const problem = await response.json<Problem>();
    expect([response.status, problem.errors?.[0]?.path]).toEqual([422, "input.image"]);
    expect(problem.errors?.[0]?.message).toMatch(message);
  });
});

describe("tokens", () => {
  const ids = Uint16Array.of(1, 2, 3, 127);
  const raw = new Uint8Array(ids.buffer);
  const file = encodeTokensFile({ version: MODEL.version, height: 2, width: 2, tokens: ids }, 129);

  it.each([
    ["a file in a data URL", dataUrl(file).replace("image/png", "application/vnd.vqd.tokens")],
    ["bytes in base64", encodeBase64(raw)],
  ])("alone are only decoded: %s", async (_, tokens) => {
    const { id, input } = await created({ tokens });
    const job = await worker.take({ id });
    expect(job).toMatchObject({
      numInferenceSteps: 1,
      guidanceScale: 1,
      source: { type: "tokens", images: 1, bytes: 8, step: 1 },
    });
    expect(worker.attachment).toEqual(raw);
    expect(input).toEqual({
      width: null,
      height: null,
      output_format: "png",
      output_quality: null,
      embed_settings: false,
      tokens: expect.stringMatching(/\/tokens\.bin$/) as string,
    });
    const again = await created(input);
    const twin = await worker.take({ id: again.id });
    expect(twin.source).toEqual(job.source);
    expect(worker.attachment).toEqual(raw);
    await worker.play(twin);
    await expect.poll(async () => (await get(again.id)).status).toBe("succeeded");
  });

  it("are an output too, in the size of the grid", async () => {
    const { id } = await created({ prompt: "a", num_inference_steps: 1, output_format: "tokens" });
    const job = await worker.take({ id });
    const said = { type: "output", index: 0, format: "tokens", width: 2, height: 2, seed: 1 } as const;
    await worker.say(job, { type: "started", worker: "a", numericsId: "n", resumedFrom: 0, total: 1 });
    await worker.say(job, ...stepEvent(1, 1));
    await worker.say(job, said, file);
    await worker.say(job, { type: "succeeded", predictSeconds: 0.1 });
    await expect.poll(async () => (await get(id)).status).toBe("succeeded");
    const { output } = await get(id);
    expect(output?.[0]).toMatch(/\/0\.vqt$/);
    expect(await bytesAt(output?.[0])).toEqual(file);
    // Which may be what the next one starts from.
    const next = await created({ tokens: output?.[0] });
    await worker.take({ id: next.id });
    expect(worker.attachment).toEqual(raw);
    const large = await created({ prompt: "a", output_format: "tokens" });
    await worker.say(await worker.take({ id: large.id }), { ...said, width: 16 }, file);
    await expect.poll(async () => (await get(large.id)).status).toBe("failed");
  });

  it("of several images make as many", async () => {
    const { id } = await created({ tokens: [encodeBase64(raw), dataUrl(file)] });
    const job = await worker.take({ id });
    expect(job).toMatchObject({ numImagesPerPrompt: 2, source: { images: 2, bytes: 16, step: 1 } });
  });

  it("can be varied", async () => {
    const { id, input } = await created({
      tokens: encodeBase64(raw),
      prompt: "a",
      strength: 0.5,
      num_outputs: 3,
    });
    const job = await worker.take({ id });
    expect(job).toMatchObject({ numImagesPerPrompt: 3, source: { images: 1, strength: 0.5 } });
    expect(input).toMatchObject({ prompt: "a", strength: 0.5, num_outputs: 3 });
  });
});

describe("a fork", () => {
  async function run(input: object = {}): Promise<Prediction> {
    const settings = { prompt: "a cat", num_inference_steps: 4, seed: 77, num_outputs: 2, ...input };
    const { id } = await created(settings);
    const job = await worker.take({ id });
    await worker.play(job);
    await expect.poll(async () => (await get(id)).status).toBe("succeeded");
    return get(id);
  }

  it("continues the recorded state, with the settings that it is not given", async () => {
    const before = await run({ guidance_scale: 3 });
    const { id, input } = await created({ from: { prediction: before.id, step: 2 } });
    const job = await worker.take({ id });
    expect(job).toMatchObject({
      numInferenceSteps: 4,
      guidanceScale: 3,
      seed: 77,
      numImagesPerPrompt: 2,
      source: { type: "tokens", images: 2, bytes: 16, step: 2 },
    });
    expect(job.source).not.toHaveProperty("run");
    expect(worker.attachment).toEqual(new Uint8Array(16).fill(2));
    expect(input).toEqual({ ...before.input, from: { prediction: before.id, step: 2 } });
    const again = await created(input);
    expect((await worker.take({ id: again.id })).source).toEqual(job.source);
  });

  it("says which run its state is of, if its own has other steps", async () => {
    const before = await run();
    const { id, input } = await created({
      from: { prediction: before.id, step: 3 },
      prompt: "a dog",
      num_inference_steps: 8,
      seeds: [5, 6],
      width: 32,
    });
    const job = await worker.take({ id });
    expect(job.source).toMatchObject({
      step: 3,
      run: { numInferenceSteps: 4, scheduler: "strided", order: "confidence" },
    });
    expect(job).toMatchObject({ seeds: [5, 6], numInferenceSteps: 8 });
    expect(input).toMatchObject({ prompt: "a dog", width: 32, height: 32 });
    expect(input).not.toHaveProperty("seed");
  });

  it("from the start is the run itself; from the end only decodes", async () => {
    const before = await run();
    const start = await created({ from: { prediction: before.id, step: 0 } });
    expect(await worker.take({ id: start.id })).not.toHaveProperty("source");
    const end = await created({ from: { prediction: before.id, step: 4 }, output_format: "webp" });
    expect(await worker.take({ id: end.id })).toMatchObject({ source: { step: 4 }, outputFormat: "webp" });
    const idle = await predict({ from: { prediction: before.id, step: 4 }, prompt: "a dog" });
    expect((await idle.json<Problem>()).errors?.[0]?.path).toBe("input.prompt");
  });

  it("holds what was held", async () => {
    const before = await run({ image: dataUrl(IMAGE), mask: dataUrl(MASK), num_outputs: 1 });
    const first = await created({ from: { prediction: before.id, step: 2 } });
    const job = await worker.take({ id: first.id });
    const mask = { type: "file", channel: "luminance", bytes: MASK.length };
    expect(job.source).toEqual({ type: "tokens", images: 1, bytes: 8, step: 2, mask });
    expect(worker.attachment).toEqual(Uint8Array.of(...new Uint8Array(8).fill(2), ...MASK));
    await worker.play(job);
    await expect.poll(async () => (await get(first.id)).status).toBe("succeeded");
    // A fork of the fork too.
    const second = await created({ from: { prediction: first.id, step: 3 } });
    expect((await worker.take({ id: second.id })).source).toMatchObject({ mask });
  });

  it("is refused for others' predictions, and for steps that are not there", async () => {
    const before = await run();
    const foreign = await predict({ from: { prediction: before.id, step: 2 } }, {}, "other-key");
    for (const response of [foreign, await predict({ from: { prediction: "nothing", step: 1 } })]) {
      expect(response.status).toBe(404);
      expect((await response.json<Problem>()).errors).toEqual([
        { path: "input.from.prediction", message: "does not exist" },
      ]);
    }
    const late = await predict({ from: { prediction: before.id, step: 5 } });
    expect((await late.json<Problem>()).errors?.[0]?.message).toMatch(/step 5 of a prediction of 4 steps/);
    const other = await call("/v1/predictions", {
      json: { version: "ba".repeat(32), input: { from: { prediction: before.id, step: 1 } } },
    });
    expect(other.status).toBe(422);
    await other.body?.cancel();
    const images = await predict({ from: { prediction: before.id, step: 2 }, num_outputs: 3 });
    expect((await images.json<Problem>()).errors?.[0]?.path).toBe("input.num_outputs");

    const running = await created({ prompt: "a", num_inference_steps: 3 });
    const job = await worker.take({ id: running.id });
    const early = await predict({ from: { prediction: running.id, step: 1 } });
    expect((await early.json<Problem>()).errors?.[0]?.message).toMatch(/not recorded/);
    await worker.say(job, ...stepEvent(1, 3));
    await expect
      .poll(async () => (await predict({ from: { prediction: running.id, step: 1 } })).status)
      .toBe(201);
  });
});

describe("what does not go together, or is no image", () => {
  const [url, tokens] = [dataUrl(IMAGE), encodeBase64(new Uint8Array(8))];
  it.each<[string, object, string, RegExp]>([
    ["nothing at all", {}, "prompt", /is required/],
    ["two starts", { prompt: "a", image: url, tokens }, "tokens", /together with image/],
    ["a mask of nothing", { prompt: "a", mask: url }, "mask", /requires image/],
    [
      "a channel of nothing",
      { prompt: "a", mask_channel: "alpha" },
      "mask_channel",
      /requires mask or image/,
    ],
    [
      "the luminance of no mask",
      { prompt: "a", image: url, mask_channel: "luminance" },
      "mask_channel",
      /requires mask/,
    ],
    [
      "a feather without a mask",
      { prompt: "a", image: url, feather: 3 },
      "feather",
      /requires image and a mask/,
    ],
    ["a feather of 65", { prompt: "a", image: url, mask: url, feather: 65 }, "feather", /from 0 to 64/],
    ["a strength of nothing", { prompt: "a", strength: 0.5 }, "strength", /requires image or tokens/],
    ["a strength of 2", { prompt: "a", image: url, strength: 2 }, "strength", /at most 1/],
    ["guidance without a prompt", { image: url, guidance_scale: 3 }, "guidance_scale", /without a prompt/],
    ["a seed of decoding", { tokens, seed: 5 }, "seed", /only decoded/],
    ["several decodings", { tokens, num_outputs: 2 }, "num_outputs", /must be 1/],
    ["tokens of a size", { prompt: "a", output_format: "tokens", width: 32 }, "width", /for tokens/],
    [
      "tokens of a quality",
      { prompt: "a", output_format: "tokens", output_quality: 0 },
      "output_quality",
      /for tokens/,
    ],
    [
      "previews of tokens",
      { prompt: "a", output_format: "tokens", num_previews: 1 },
      "num_previews",
      /for tokens/,
    ],
    ["plain text", { prompt: "a", image: "cat.png" }, "image", /must be a URL/],
    ["an empty text", { prompt: "a", image: url, mask: "data:," }, "mask", /base64/],
    [
      "a data URL that is no base64",
      { prompt: "a", image: "data:image/png;base64,###" },
      "image",
      /not valid base64/,
    ],
    ["SVG", { prompt: "a", image: `data:image/png;base64,${btoa("<svg/>")}` }, "image", /must be a PNG/],
    ["an http URL", { prompt: "a", image: "http://example.com/a.png" }, "image", /https/],
    ["a private address", { prompt: "a", image: "https://10.0.0.1/a.png" }, "image", /private/],
    ["metadata of a cloud", { prompt: "a", image: "https://169.254.169.254/latest" }, "image", /private/],
    ["a file", { prompt: "a", image: "file:///etc/passwd" }, "image", /https/],
    ["odd tokens", { tokens: encodeBase64(new Uint8Array(9)) }, "tokens", /8 bytes for each image/],
    [
      "masked tokens",
      { tokens: encodeBase64(Uint8Array.of(128, 0, 0, 0, 0, 0, 0, 0)) },
      "tokens",
      /below 128/,
    ],
    [
      "tokens of another model",
      {
        tokens: dataUrl(
          encodeTokensFile(
            { version: "ba".repeat(32), height: 2, width: 2, tokens: new Uint16Array(4) },
            129,
          ),
        ),
      },
      "tokens",
      /another model/,
    ],
  ])("refuses %s", async (_, input, field, message) => {
    const response = await predict(input);
    const problem = await response.json<Problem>();
    expect([response.status, problem.errors?.[0]?.path]).toEqual([422, `input.${field}`]);
    expect(problem.errors?.[0]?.message).toMatch(message);
  });

  it("refuses files that are too large, alone and together", async () => {
    const half = dataUrl(image(MAX_SOURCE_BYTES / 2 + 1));
    const both = await predict({ prompt: "a", image: half, mask: half });
    // The body holds both only just.
    expect([413, 422]).toContain(both.status);
    await both.body?.cancel();
    const one = await predict({ prompt: "a", image: dataUrl(image(MAX_SOURCE_BYTES + 3)) });
    expect([413, 422]).toContain(one.status);
    await one.body?.cancel();
    const text = await predict({ prompt: "a".repeat(300_000), image: dataUrl(image(1_000_000)) });
    expect(text.status).toBe(413);
    await text.body?.cancel();
    const most = await created({ prompt: "a", image: dataUrl(image(MAX_SOURCE_BYTES)) });
    await worker.take({ id: most.id });
    expect(worker.attachment).toHaveLength(MAX_SOURCE_BYTES);
  });
});
