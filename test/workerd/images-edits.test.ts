// OpenAI's edits and variations: forms, what the job then has, answers, streams and errors in OpenAI's shape.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { imagesSchema, openaiErrorSchema } from "../../edge/api-docs/answers.ts";
import { call, PlayedWorker } from "./support.ts";

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());

function image(length: number, fill: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length).fill(fill);
  bytes.set(Uint8Array.from("\x89PNG\r\n\x1a\n", (char) => char.charCodeAt(0)));
  return bytes;
}
const [IMAGE, MASK] = [image(60, 1), image(40, 2)];
const file = (bytes: Uint8Array<ArrayBuffer>, name = "a.png"): File => new File([bytes], name);

type Fields = Record<string, string | File | readonly (string | File)[]>;
function send(path: string, fields: Fields, headers: Record<string, string> = {}): Promise<Response> {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const one of [value].flat()) {
      if (typeof one === "string") form.append(name, one);
      else form.append(name, one, one.name);
    }
  }
  return call(`/v1/images/${path}`, { method: "POST", body: form, headers });
}

/** Answers the next prediction while the request for it is open. */
async function made(path: string, fields: Fields, seed: string) {
  const answering = send(path, { ...fields, seed });
  const job = await worker.take({ seed: Number(seed) });
  const { attachment } = worker;
  await worker.play(job);
  return { job, attachment, response: await answering };
}

describe("an edit", () => {
  it("makes anew what is transparent in the mask", async () => {
    const fields = {
      image: file(IMAGE),
      mask: file(MASK),
      prompt: "a hat",
      n: "2",
      response_format: "url",
      user: "7",
    };
    const { job, attachment, response } = await made("edits", fields, "801");
    expect(job).toMatchObject({
      numImagesPerPrompt: 2,
      source: {
        type: "image",
        bytes: IMAGE.length,
        mask: { type: "file", channel: "alpha", bytes: MASK.length },
        strength: 1,
        blend: { feather: 4 },
      },
    });
    expect(attachment).toEqual(Uint8Array.of(...IMAGE, ...MASK));
    const body = await response.json();
    expect([response.status, imagesSchema.safeParse(body).error]).toEqual([200, undefined]);
    expect(body).toMatchObject({
      safety_identifier: "7",
      usage: { input_tokens: 8, output_tokens: 8, input_tokens_details: { text_tokens: 4, image_tokens: 4 } },
    });
  });

  it("without a mask makes anew what is transparent in the image", async () => {
    const settings = {
      "image[]": file(IMAGE),
      prompt: "a",
      strength: "0.5",
      quality: "low",
      input_fidelity: "high",
    };
    const { job, response } = await made("edits", settings, "802");
    expect(job).toMatchObject({
      numInferenceSteps: 5,
      source: { mask: { type: "image_alpha" }, strength: 0.5 },
    });
    expect(await response.json()).toMatchObject({ quality: "low", ignored: ["input_fidelity"] });
  });

  it("is streamed in events of its own", async () => {
    const fields = {
      image: file(IMAGE),
      prompt: "a",
      stream: "true",
      partial_images: "0",
      num_inference_steps: "1",
    };
    const { response } = await made("edits", fields, "803");
    const text = await response.text();
    expect(text).toMatch(/^event: image_edit\.completed\ndata: \{"type":"image_edit\.completed",/);
    expect(text).toContain('"image_tokens":4');
  });

  it("has one idempotency key by what its files hold", async () => {
    const headers = { "idempotency-key": crypto.randomUUID() };
    const edit = (bytes: Uint8Array<ArrayBuffer>, name?: string): Promise<Response> =>
      send("edits", { image: file(bytes, name), prompt: "a", seed: "804", response_format: "url" }, headers);
    const [first, second] = [edit(IMAGE), edit(IMAGE, "b.png")];
    await worker.play(await worker.take({ seed: 804 }));
    const ids = await Promise.all(
      [first, second].map(
        async (answer) => (await (await answer).json<{ prediction_id: string }>()).prediction_id,
      ),
    );
    expect(ids[0]).toBe(ids[1]);
    const other = await edit(MASK);
    expect([other.status, await other.json()]).toMatchObject([
      400,
      { error: { code: "idempotency_key_reused" } },
    ]);
  });
});

it("a variation starts from the image alone", async () => {
  const { job, response } = await made("variations", { image: file(IMAGE), n: "3", size: "16x16" }, "805");
  expect(job).toMatchObject({
    guidanceScale: 1,
    numImagesPerPrompt: 3,
    source: { type: "image", bytes: IMAGE.length, strength: 0.8 },
  });
  const body = await response.json<{ data: unknown[] }>();
  expect(imagesSchema.safeParse(body).error).toBeUndefined();
  expect(body.data).toHaveLength(3);
  expect(body).toMatchObject({ usage: { input_tokens: 4, input_tokens_details: { text_tokens: 0 } } });
});

it.each<[string, string, Fields, string | null, RegExp]>([
  ["no image", "edits", { prompt: "a" }, "image", /required, as a file/],
  [
    "an image as text",
    "edits",
    { prompt: "a", image: "https://example.com/a.png" },
    "image",
    /must be a file/,
  ],
  ["two images", "edits", { prompt: "a", "image[]": [file(IMAGE), file(MASK)] }, "image", /not combined/],
  ["no prompt", "edits", { image: file(IMAGE) }, "prompt", /required/],
  ["a text file", "edits", { prompt: "a", image: new File(["text"], "a.png") }, "image", /must be a PNG/],
  [
    "an SVG mask",
    "edits",
    { prompt: "a", image: file(IMAGE), mask: new File(["<svg/>"], "m.png") },
    "mask",
    /PNG/,
  ],
  [
    "an unknown file",
    "edits",
    { prompt: "a", image: file(IMAGE), markup: file(MASK) },
    "markup",
    /not a known/,
  ],
  ["an unknown field", "edits", { prompt: "a", image: file(IMAGE), steps: "5" }, "steps", /not a known/],
  [
    "a field that objects have",
    "edits",
    { prompt: "a", image: file(IMAGE), ["__proto__"]: "x" },
    "__proto__",
    /not a known/,
  ],
  ["n of 11", "edits", { prompt: "a", image: file(IMAGE), n: "11" }, "n", /at most 10/],
  ["n as words", "edits", { prompt: "a", image: file(IMAGE), n: "two" }, "n", /integer from 1 to 10/],
  ["two of n", "edits", { prompt: "a", image: file(IMAGE), n: ["1", "2"] }, "n", /given once/],
  [
    "transparency",
    "edits",
    { prompt: "a", image: file(IMAGE), background: "transparent" },
    "background",
    /omitted/,
  ],
  [
    "partial images without a stream",
    "edits",
    { prompt: "a", image: file(IMAGE), partial_images: "2" },
    "partial_images",
    /stream/,
  ],
  ["a feather of 65", "edits", { prompt: "a", image: file(IMAGE), feather: "65" }, "feather", /0 to 64/],
  ["another model", "edits", { prompt: "a", image: file(IMAGE), model: "vqd/none" }, "model", /model/],
  ["a variation with a mask", "variations", { image: file(IMAGE), mask: file(MASK) }, "mask", /not a known/],
  ["a variation that streams", "variations", { image: file(IMAGE), stream: "true" }, "stream", /not a known/],
])("refuses %s", async (_, path, fields, param, message) => {
  const response = await send(path, fields);
  const body = await response.json<{ error: { param: string | null; message: string } }>();
  expect(openaiErrorSchema.safeParse(body).error).toBeUndefined();
  expect([param === "model" ? 404 : 400, param]).toEqual([response.status, body.error.param]);
  expect(body.error.message).toMatch(message);
  expect(response.headers.get("x-should-retry")).toBe("false");
});

it("refuses JSON, and forms that are cut short", async () => {
  const json = await call("/v1/images/edits", { json: { prompt: "a" } });
  expect([json.status, openaiErrorSchema.safeParse(await json.json()).error]).toEqual([415, undefined]);
  const cut = await call("/v1/images/edits", {
    method: "POST",
    body: "--x\r\ncontent-disposition: form-data; name=prompt",
    headers: { "content-type": "multipart/form-data; boundary=x" },
  });
  expect([cut.status, openaiErrorSchema.safeParse(await cut.json()).error]).toEqual([400, undefined]);
});
