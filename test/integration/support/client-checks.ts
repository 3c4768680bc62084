// What the clients people have must be able to do, each as a function of the API it is done to.

import OpenAI, { type APIError, AuthenticationError, BadRequestError, NotFoundError } from "openai";
import Replicate, { parseProgressFromLogs, type Prediction } from "replicate";
import sharp from "sharp";
import { expect } from "vitest";
import type { ApiClient } from "./client.ts";

const STEPS = 12;
const SIDE = 16;
/** Of an image. */
const TOKENS = 64;
/** Of the prompt, with its begin and end. */
const TEXT_TOKENS = 8;
const PROMPT = "grinning face, flat style";
const SETTINGS = { num_inference_steps: STEPS, guidance_scale: 3, seed: 7 };
export const INPUT = { prompt: PROMPT, ...SETTINGS };

export type Check = (api: ApiClient) => Promise<void>;

export const openaiOf = ({ url, apiKey }: ApiClient, maxRetries = 0): OpenAI =>
  new OpenAI({ apiKey, baseURL: `${url}/v1`, maxRetries });
export const replicateOf = ({ url, apiKey }: ApiClient): Replicate =>
  new Replicate({ auth: apiKey, baseUrl: `${url}/v1` });

/** Fields beyond OpenAI's own go through its client as they are. */
export const generate = (openai: OpenAI, params: object = {}): Promise<OpenAI.ImagesResponse> =>
  openai.images.generate({ ...INPUT, ...params } as OpenAI.ImageGenerateParamsNonStreaming);

export const stream = (openai: OpenAI, params: object = {}) =>
  openai.images.generate({ ...INPUT, stream: true, ...params } as OpenAI.ImageGenerateParamsStreaming);

async function expectImage(bytes: Buffer, format = "png"): Promise<void> {
  expect(await sharp(bytes).metadata()).toMatchObject({ format, width: SIDE, height: SIDE });
}

async function download(url: string | undefined): Promise<Buffer> {
  const response = await fetch(url ?? "");
  expect(response.status).toBe(200);
  return Buffer.from(await response.arrayBuffer());
}

async function modelOf(api: ApiClient): Promise<`${string}/${string}`> {
  const { data } = await openaiOf(api).models.list();
  const [owner = "", name = ""] = data[0]?.id.split("/") ?? [];
  return `${owner}/${name}`;
}

/** A PNG file of one colour. */
const square = async (background: string | object, side = SIDE): Promise<Uint8Array<ArrayBuffer>> => {
  const isOpaque = typeof background === "string";
  const create = { width: side, height: side, channels: isOpaque ? (3 as const) : (4 as const), background };
  return new Uint8Array(await sharp({ create }).png().toBuffer());
};

export const CHECKS = {
  "openai: images in the answer": async (api) => {
    const answer = await generate(openaiOf(api), { n: 2, model: await modelOf(api) });
    expect(answer.data).toHaveLength(2);
    for (const { b64_json = "" } of answer.data ?? []) await expectImage(Buffer.from(b64_json, "base64"));
    expect(answer.data?.[0]?.b64_json).not.toBe(answer.data?.[1]?.b64_json);
    const { comments } = await sharp(Buffer.from(answer.data?.[1]?.b64_json ?? "", "base64")).metadata();
    const parameters = comments?.find(({ keyword }) => keyword === "parameters")?.text;
    expect(parameters).toMatch(new RegExp(`^${PROMPT}\nSteps: ${STEPS}, .*Seed: 7, .*Batch pos: 1,`));
    expect(answer).toMatchObject({
      size: `${SIDE}x${SIDE}`,
      output_format: "png",
      usage: { input_tokens: TEXT_TOKENS, output_tokens: 2 * TOKENS, total_tokens: TEXT_TOKENS + 2 * TOKENS },
    });
    expect(Math.abs(answer.created - Date.now() / 1_000)).toBeLessThan(60);
  },

  "openai: images by URL, in each format and less quality": async (api) => {
    const openai = openaiOf(api);
    const get = async (params: object): Promise<Buffer> => {
      const { data } = await generate(openai, { response_format: "url", ...params });
      return download(data?.[0]?.url);
    };
    await expectImage(await get({}));
    for (const output_format of ["webp", "jpeg"]) {
      const good = await get({ output_format });
      await expectImage(good, output_format);
      const small = await get({ output_format, output_compression: 0 });
      expect(small.length).toBeLessThan(good.length);
    }
  },

  "openai: a stream of partial images": async (api) => {
    const openai = openaiOf(api);
    const events: OpenAI.ImageGenStreamEvent[] = [];
    for await (const event of await stream(openai, { partial_images: 3 })) events.push(event);
    const indexes = events.map((event) =>
      event.type === "image_generation.partial_image" ? event.partial_image_index : event.type,
    );
    expect(indexes).toEqual([0, 1, 2, "image_generation.completed"]);
    for (const { b64_json } of events) await expectImage(Buffer.from(b64_json, "base64"));
    const last = events.at(-1);
    expect(last).toMatchObject({ usage: { total_tokens: TEXT_TOKENS + TOKENS }, size: `${SIDE}x${SIDE}` });
    const plain = await generate(openai);
    expect(last?.b64_json).toBe(plain.data?.[0]?.b64_json);
  },

  "openai: an edit, and its stream": async (api) => {
    const openai = openaiOf(api);
    const image = new File([await square("red")], "image.png");
    // Transparent all over: all of it is made anew.
    const mask = new File([await square({ r: 0, g: 0, b: 0, alpha: 0 })], "mask.png");
    const params = { image, mask, ...INPUT } as OpenAI.ImageEditParamsNonStreaming;
    const edit = await openai.images.edit({ ...params, n: 2, quality: "high", user: "somebody" });
    expect(edit.data).toHaveLength(2);
    for (const { b64_json = "" } of edit.data ?? []) await expectImage(Buffer.from(b64_json, "base64"));
    expect(edit).toMatchObject({
      safety_identifier: "somebody",
      usage: {
        input_tokens: TEXT_TOKENS + TOKENS,
        input_tokens_details: { text_tokens: TEXT_TOKENS, image_tokens: TOKENS },
      },
    });
    const kinds: string[] = [];
    for await (const event of await openai.images.edit({ ...params, stream: true, partial_images: 2 })) {
      kinds.push(event.type);
      await expectImage(Buffer.from(event.b64_json, "base64"));
    }
    const partial = "image_edit.partial_image";
    expect(kinds).toEqual([partial, partial, "image_edit.completed"]);
    const refused = openai.images.edit({ ...params, image: [image, image] });
    await expect(refused).rejects.toMatchObject({ status: 400, param: "image" });
    const small = new File([await square("white", SIDE / 2)], "mask.png");
    const other = openai.images.edit({ ...params, mask: small });
    await expect(other).rejects.toMatchObject({ status: 400, param: "mask", code: "invalid_value" });
  },

  "openai: a variation": async (api) => {
    const openai = openaiOf(api);
    const image = new File([await square("blue")], "image.png");
    const { data } = await openai.images.createVariation({ image, n: 2, response_format: "url" });
    expect(data).toHaveLength(2);
    for (const { url } of data ?? []) await expectImage(await download(url));
  },

  "openai: errors of its own classes": async (api) => {
    const openai = openaiOf(api);
    const thrownBy = (params: object): Promise<unknown> =>
      generate(openai, params).then(
        () => new Error("it was not refused"),
        (error: unknown) => error,
      );
    const bad = await thrownBy({ prompt: "" });
    expect(bad).toBeInstanceOf(BadRequestError);
    expect(bad).toMatchObject({ status: 400, param: "prompt", type: "invalid_request_error" });
    expect((bad as APIError).requestID).toMatch(/^[\w-]{8,}$/);
    expect(await thrownBy({ size: "17x16" })).toMatchObject({ status: 400, param: "size" });
    expect(await thrownBy({ colour: "red" })).toMatchObject({ status: 400, param: "colour" });
    const unknown = await thrownBy({ model: "dall-e-3" });
    expect(unknown).toBeInstanceOf(NotFoundError);
    expect(unknown).toMatchObject({ code: "model_not_found", param: "model" });
    expect(await thrownBy({ prompt: "x".repeat(300_000) })).toMatchObject({ status: 413 });
    const stranger = openaiOf({ ...api, apiKey: "wrong" });
    await expect(stranger.images.generate({ prompt: "a" })).rejects.toBeInstanceOf(AuthenticationError);
    await expect(openai.get("/nothing")).rejects.toMatchObject({ status: 404, code: "unknown_url" });
  },

  "replicate: run, with progress": async (api) => {
    const seen: Prediction[] = [];
    const output = await replicateOf(api).run(
      await modelOf(api),
      { input: INPUT, wait: { mode: "poll", interval: 20 } },
      (prediction) => seen.push(prediction),
    );
    expect(output).toHaveLength(1);
    await expectImage(await download((output as string[])[0]));
    expect(seen[0]?.status).toBe("starting");
    expect(seen.at(-1)).toMatchObject({ status: "succeeded" });
  },

  "replicate: run that blocks": async (api) => {
    const output = await replicateOf(api).run(await modelOf(api), { input: INPUT, wait: { mode: "block" } });
    await expectImage(await download((output as string[])[0]));
  },

  "replicate: create by version, wait, logs": async (api) => {
    const replicate = replicateOf(api);
    const [owner = "", name = ""] = (await modelOf(api)).split("/");
    const version = (await replicate.models.get(owner, name)).latest_version?.id ?? "";
    const created = await replicate.predictions.create({ version, input: INPUT });
    expect(created).toMatchObject({ status: "starting", version, model: `${owner}/${name}` });
    const ended = await replicate.wait(created, { interval: 20 });
    expect(ended).toMatchObject({ status: "succeeded", error: null, input: { seed: 7 } });
    expect(parseProgressFromLogs(ended)).toEqual({ percentage: 1, current: STEPS, total: STEPS });
    expect(ended.metrics?.predict_time).toBeGreaterThan(0);
    expect(ended.metrics?.total_time).toBeGreaterThanOrEqual(ended.metrics?.predict_time ?? Infinity);
    for (const time of [ended.created_at, ended.started_at, ended.completed_at]) {
      expect(Date.parse(time ?? "")).toBeGreaterThan(Date.now() - 60_000);
    }
    const waited = await replicate.predictions.create({ version, input: INPUT, wait: true });
    expect(waited.status).toBe("succeeded");
  },

  "replicate: get, cancel, list": async (api) => {
    const replicate = replicateOf(api);
    const input = { ...INPUT, num_inference_steps: 100, num_outputs: 10 };
    const model = await modelOf(api);
    const created = await replicate.predictions.create({ model, input });
    expect(await replicate.predictions.get(created.id)).toMatchObject({ id: created.id, model });
    expect(await replicate.predictions.cancel(created.id)).toMatchObject({ status: "canceled" });
    expect(await replicate.predictions.get(created.id)).toMatchObject({ status: "canceled", output: null });
    const first = await replicate.predictions.list();
    expect(first.results[0]?.id).toBe(created.id);
    const ids: string[] = [];
    const twoAtATime = async () =>
      (await replicate.request("/predictions?limit=2", { method: "GET" })).json() as Promise<typeof first>;
    for await (const page of replicate.paginate(twoAtATime)) {
      expect(page.length).toBeLessThanOrEqual(2);
      ids.push(...page.map(({ id }) => id));
    }
    expect(ids).toEqual(first.results.map(({ id }) => id));
    expect(ids.length).toBeGreaterThan(2);
  },

  "replicate: an id of one's own, deleted": async (api) => {
    const replicate = replicateOf(api);
    const path = `/predictions/mine-${crypto.randomUUID()}`;
    const body = { model: await modelOf(api), input: INPUT };
    const put = () => replicate.request(path, { method: "PUT", data: body });
    const created = (await (await put()).json()) as Prediction;
    expect(path).toContain(created.id);
    const ended = await replicate.wait(created, { interval: 20 });
    expect(ended).toMatchObject({ id: created.id, status: "succeeded" });
    const [url] = ended.output as string[];
    await expectImage(await download(url));
    expect(await (await put()).json()).toMatchObject({ id: created.id, output: [url] });
    expect((await replicate.request(path, { method: "DELETE" })).status).toBe(204);
    await expect(replicate.predictions.get(created.id)).rejects.toThrow(/404/);
    expect((await fetch(url ?? "")).status).toBe(404);
  },

  "replicate: buffers and files as inputs": async (api) => {
    const replicate = replicateOf(api);
    const image = await square("green");
    const before = (await replicate.files.list()).results.length;
    const output = (await replicate.run(await modelOf(api), {
      input: { ...INPUT, image: Buffer.from(image), mask: new Blob([await square("black")]), feather: 0 },
    })) as string[];
    const made = await download(output[0]);
    await expectImage(made);
    // Black: nothing is made anew.
    expect(await sharp(made).raw().toBuffer()).toEqual(await sharp(image).raw().toBuffer());
    const { results } = await replicate.files.list();
    expect(results).toHaveLength(before + 2);
    for (const { id } of results.slice(0, 2)) await replicate.files.delete(id);
  },

  "replicate: files": async (api) => {
    const replicate = replicateOf(api);
    const bytes = await sharp({ create: { width: 4, height: 4, channels: 3, background: "red" } })
      .png()
      .toBuffer();
    const file = await replicate.files.create(bytes, { of: "a red square" });
    expect(file).toMatchObject({
      content_type: "image/png",
      size: bytes.length,
      metadata: { of: "a red square" },
    });
    expect(await replicate.files.get(file.id)).toEqual(file);
    const { results } = await replicate.files.list();
    expect(results[0]).toEqual(file);
    const urls: Record<string, string> = file.urls;
    expect((await download(urls["download"])).equals(bytes)).toBe(true);
    const named = await replicate.files.create(new File([bytes], "square.png"));
    expect(named).toMatchObject({ name: "square.png", metadata: {} });
    for (const { id } of [file, named]) expect(await replicate.files.delete(id)).toBe(true);
    await expect(replicate.files.get(file.id)).rejects.toThrow(/404/);
    const refused = replicate.files.create(Buffer.from("no image"));
    await expect(refused).rejects.toThrow(/422 .*"path":"content"/s);
  },

  "openai: values of other services": async (api) => {
    const openai = openaiOf(api);
    const seeds = [7, "18446744073709551615"];
    const both = await generate(openai, { seed: undefined, seeds, n: 2, output_format: "jpg" });
    expect(both).toMatchObject({ seeds, output_format: "jpeg" });
    for (const [i, seed] of seeds.entries()) {
      const alone = await generate(openai, { seed, output_format: "jpeg" });
      expect(alone).toMatchObject({ seed });
      expect(alone.data?.[0]?.b64_json).toBe(both.data?.[i]?.b64_json);
    }
    const idle = generate(openai, { negative_prompt: "hat", guidance_scale: 0 });
    await expect(idle).rejects.toMatchObject({ status: 400, param: "negative_prompt" });
  },

  "replicate: a stream": async (api) => {
    const replicate = replicateOf(api);
    const kinds: string[] = [];
    let output = "";
    for await (const { event, data } of replicate.stream(await modelOf(api), {
      input: { ...INPUT, num_previews: 2 },
    })) {
      kinds.push(event);
      if (event === "output") output = data;
    }
    expect(kinds.filter((kind) => kind === "step")).toHaveLength(STEPS);
    expect(kinds.filter((kind) => kind === "preview")).toHaveLength(2);
    expect(kinds.slice(-2)).toEqual(["output", "done"]);
    await expectImage(await download(output));
  },

  "replicate: an error that names the field": async (api) => {
    const replicate = replicateOf(api);
    const model = await modelOf(api);
    const refused = replicate.predictions.create({ model, input: { ...INPUT, steps: 5 } });
    await expect(refused).rejects.toThrow(/422 .*"path":"input\.steps"/s);
    await expect(replicate.predictions.get("nothing")).rejects.toThrow(/404/);
  },
} satisfies Record<string, Check>;
