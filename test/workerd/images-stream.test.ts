// OpenAI's image stream: its frames, its failures, and what follows from a client that disconnects.

import { abortAllDurableObjects } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Job } from "../../shared/job.ts";
import { call, IMAGE, MODEL, ORIGIN, outputEvent, PlayedWorker, previewEvent, stepEvent } from "./support.ts";

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(async () => {
  await worker.close();
});

interface Frame {
  event: string;
  data: { type: string } & Record<string, unknown>;
}

const open = (body: object, init: { headers?: Record<string, string>; signal?: AbortSignal } = {}) =>
  call("/v1/images/generations", { json: { prompt: "a cat", stream: true, ...body }, ...init });

function parse(text: string): Frame[] {
  return text
    .split("\n\n")
    .filter((block) => block !== "" && !block.startsWith(":"))
    .map((block) => {
      const [, event = "", data = ""] = /^event: (\S+)\ndata: (.*)$/.exec(block) ?? [];
      return { event, data: JSON.parse(data) as Frame["data"] };
    });
}

/** A run of four steps with two partial images. */
async function play(job: Job): Promise<void> {
  await worker.say(job, { type: "started", worker: "w", numericsId: "n", resumedFrom: 0, total: 4 });
  for (const step of [1, 2, 3, 4]) {
    await worker.say(job, ...stepEvent(step, 4));
    if (step === 1) await worker.say(job, ...previewEvent(0, 1));
    if (step === 3) await worker.say(job, ...previewEvent(1, 3));
  }
  await worker.say(job, ...outputEvent(0));
  await worker.say(job, { type: "succeeded", predictSeconds: 1 });
}

const b64 = btoa(String.fromCharCode(...IMAGE));
const SETTINGS = { num_inference_steps: 4, partial_images: 2 };

describe("a stream", () => {
  it("sends the partial images and then the completed one", async () => {
    const response = await open({ ...SETTINGS, seed: 401, user: "someone" });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(response.headers.get("x-request-id")).toMatch(/./);
    const job = await worker.take({ seed: 401 });
    expect(job).toMatchObject({ previews: 2, outputQuality: 100, outputFormat: "png" });
    const [text] = await Promise.all([response.text(), play(job)]);
    const frames = parse(text);
    const common = {
      b64_json: b64,
      size: "16x16",
      output_format: "png",
      background: "opaque",
      quality: "high",
      safety_identifier: "someone",
      created_at: Math.floor(job.createdAt / 1_000),
      image_index: 0,
    };
    const [partial, completed] = ["image_generation.partial_image", "image_generation.completed"];
    expect(frames).toEqual([
      { event: partial, data: { type: partial, ...common, partial_image_index: 0 } },
      { event: partial, data: { type: partial, ...common, partial_image_index: 1 } },
      {
        event: completed,
        data: {
          type: completed,
          ...common,
          usage: {
            input_tokens: 4,
            output_tokens: 4,
            total_tokens: 8,
            input_tokens_details: { text_tokens: 4, image_tokens: 0 },
            output_tokens_details: { text_tokens: 0, image_tokens: 4 },
          },
        },
      },
    ]);
  });

  it("counts the prompt once, and has no previews unless requested", async () => {
    const response = await open({ seed: 402, n: 2, num_inference_steps: 1 });
    const job = await worker.take({ seed: 402 });
    expect(job.previews).toBe(0);
    const [text] = await Promise.all([response.text(), worker.play(job)]);
    const usages = parse(text).map(({ data }) => data["usage"]);
    expect(usages).toMatchObject([
      { input_tokens: 4, output_tokens: 4 },
      { input_tokens: 0, output_tokens: 4 },
    ]);
  });

  it("sends URLs if requested", async () => {
    const response = await open({ ...SETTINGS, seed: 403, response_format: "url" });
    const [text] = await Promise.all([response.text(), play(await worker.take({ seed: 403 }))]);
    const urls = parse(text).map(({ data }) => String(data["url"]));
    expect(urls).toHaveLength(3);
    for (const url of urls) {
      expect((await call(url.slice(ORIGIN.length), { key: null })).status).toBe(200);
    }
  });

  it("continues even if the hub is killed", async () => {
    const response = await open({ ...SETTINGS, seed: 404 });
    const job = await worker.take({ seed: 404 });
    await worker.say(job, ...stepEvent(1, 4));
    await worker.say(job, ...previewEvent(0, 1));
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = (await reader?.read())?.value ?? "";
    await abortAllDurableObjects();
    await play(job);
    for (;;) {
      const { done = true, value = "" } = (await reader?.read()) ?? {};
      if (done) break;
      text += value;
    }
    expect(parse(text).map(({ data }) => data["partial_image_index"])).toEqual([0, 1, undefined]);
  });
});

describe("a failure", () => {
  it("before the stream starts is a response with a status", async () => {
    const response = await open({ prompt: "" });
    expect(response.status).toBe(400);
    expect(response.headers.get("content-type")).toBe("application/json");
  });

  it("during the stream is an event that clients throw", async () => {
    const response = await open({ seed: 405 });
    const job = await worker.take({ seed: 405 });
    await worker.say(job, { type: "failed", error: { code: "model_error", message: "broken" } });
    expect(parse(await response.text())).toEqual([
      {
        event: "error",
        data: {
          type: "error",
          error: { message: "broken", type: "server_error", param: null, code: "model_error" },
        },
      },
    ]);
  });

  it("of the connection cancels the prediction, unless it has an idempotency key", async () => {
    const leave = async (seed: number, headers: Record<string, string>): Promise<Job> => {
      const leaving = new AbortController();
      const response = await open({ ...SETTINGS, seed }, { headers, signal: leaving.signal });
      const job = await worker.take({ seed });
      await worker.say(job, ...stepEvent(1, 4));
      await worker.say(job, ...previewEvent(0, 1));
      const reader = response.body?.getReader();
      await reader?.read();
      await reader?.cancel();
      leaving.abort();
      return job;
    };
    const statusOf = async (id: string): Promise<string> =>
      (await (await call(`/v1/predictions/${id}`)).json<{ status: string }>()).status;
    const left = await leave(406, {});
    await expect.poll(() => statusOf(left.id)).toBe("canceled");

    const headers = { "idempotency-key": crypto.randomUUID() };
    const kept = await leave(407, headers);
    await play(kept);
    const again = await open({ ...SETTINGS, seed: 407 }, { headers });
    expect(parse(await again.text()).map(({ data }) => data["partial_image_index"])).toEqual([
      0,
      1,
      undefined,
    ]);
  });
});

it("a lossy format reaches the worker, and its URLs say when they expire", async () => {
  const answered = call("/v1/images/generations", {
    json: { prompt: "a", seed: 408, output_format: "webp", output_compression: 30, response_format: "url" },
  });
  const job = await worker.take({ seed: 408 });
  expect(job).toMatchObject({ outputFormat: "webp", outputQuality: 30, previews: 0, model: MODEL.name });
  await worker.play(job);
  const { expires_at } = await (await answered).json<{ expires_at: number }>();
  expect(expires_at - Math.floor(job.createdAt / 1_000)).toBeGreaterThanOrEqual(86_400);
});
