// From a request through the real NATS and back: the edge's own permissions, a hand-written worker.

import { env } from "cloudflare:workers";
import { abortAllDurableObjects } from "cloudflare:test";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { NatsLink } from "../../edge/hub/nats/session.ts";
import { createLogger } from "../../shared/log.ts";
import { call, IMAGE, fillQueue, MODEL, ORIGIN, outputEvent, PlayedWorker, stepEvent } from "./support.ts";

let worker: PlayedWorker;
const made: string[] = [];

interface Prediction {
  id: string;
  status: string;
  output: string[] | null;
  error_code: string | null;
  logs: string;
  input: { seed: number; num_inference_steps: number };
  metrics: { prompt_tokens: number; prompt_truncated: boolean; total_time?: number; predict_time?: number };
  urls: Record<"get" | "cancel" | "events" | "stream", string>;
}

beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(async () => {
  await worker.close();
});
afterEach(async () => {
  await Promise.all(made.splice(0).map((id) => call(`/v1/predictions/${id}/cancel`, { method: "POST" })));
});

async function create(input: object, headers: Record<string, string> = {}): Promise<Prediction> {
  const response = await call("/v1/predictions", { json: { input: { prompt: "a cat", ...input } }, headers });
  expect(response.status).toBe(201);
  const prediction = await response.json<Prediction>();
  made.push(prediction.id);
  return prediction;
}

const path = (url: string): string => url.slice(ORIGIN.length);
const get = async (id: string): Promise<Prediction> =>
  (await call(`/v1/predictions/${id}`)).json<Prediction>();

describe("a prediction", () => {
  it("is dispatched, followed and served as a file", async () => {
    const created = await create({ num_inference_steps: 3, seed: 7 });
    expect(created).toMatchObject({
      status: "starting",
      output: null,
      input: {
        prompt: "a cat",
        seed: 7,
        num_inference_steps: 3,
        guidance_scale: 5,
        scheduler: "strided",
        order: "confidence",
        remasking: 0,
        temperature: 0.5,
        prior_rule: 0,
        prior_weight: 0,
      },
      metrics: { prompt_tokens: 4, prompt_truncated: false },
    });
    const job = await worker.take({ id: created.id });
    expect(job).toMatchObject({
      model: MODEL.name,
      version: MODEL.version,
      prompts: [[49_406, 320, 2_368, 49_407, 49_407, 49_407, 49_407, 49_407]],
      negativePrompt: null,
      numInferenceSteps: 3,
      seed: 7,
    });
    const [stream] = await Promise.all([
      call(path(created.urls.events), { headers: { "last-event-id": "1" } }).then((response) =>
        response.text(),
      ),
      worker.play(job),
    ]);
    expect(stream.match(/^id: \d+$/gm)?.map((line) => Number(line.slice(4)))).toEqual([
      2, 3, 4, 5, 6, 7, 8, 9,
    ]);
    // Replicate's client for Python throws at events that it does not know.
    const python = { key: null, headers: { "user-agent": "replicate-python/1.0.7" } };
    const known = await (await call(path(created.urls.stream), python)).text();
    expect(new Set(known.match(/^event: \w+$/gm))).toEqual(
      new Set(["event: logs", "event: output", "event: done"]),
    );
    const done = await get(created.id);
    expect(done).toMatchObject({ status: "succeeded", metrics: { predict_time: 0.001 } });
    const file = await call(path(done.output?.[0] ?? ""), { key: null });
    expect(file.headers.get("content-type")).toBe("image/png");
    expect(file.headers.get("cache-control")).toMatch(/^public, max-age=\d+, must-revalidate, immutable$/);
    expect(new Uint8Array(await file.arrayBuffer())).toEqual(IMAGE);
    const again = await call(path(done.output?.[0] ?? ""), {
      key: null,
      headers: { "if-none-match": file.headers.get("etag") ?? "" },
    });
    expect(again.status).toBe(304);
  });

  it("answers HEAD of its event stream like GET", async () => {
    const { id, urls } = await create({});
    for (const url of [urls.events, urls.stream]) {
      const head = await call(path(url), { method: "HEAD", headers: { "x-request-id": "head-1" } });
      expect([head.status, await head.text()]).toEqual([200, ""]);
      const leaving = new AbortController();
      const opened = await call(path(url), { headers: { "x-request-id": "head-1" }, signal: leaving.signal });
      expect(Object.fromEntries(head.headers)).toEqual(Object.fromEntries(opened.headers));
      expect(Object.fromEntries(head.headers)).toMatchObject({
        "content-type": "text/event-stream; charset=utf-8",
        "x-request-id": "head-1",
        "access-control-allow-origin": "*",
        "x-content-type-options": "nosniff",
      });
      await opened.body?.cancel();
      leaving.abort();
    }
    await call(path(urls.cancel), { method: "POST" });
    const headers = { "last-event-id": "1" };
    expect((await call(`/v1/predictions/${id}/events`, { method: "HEAD", headers })).status).toBe(204);
    const none = `/v1/predictions/${"0".repeat(26)}/events`;
    expect((await call(none, { method: "HEAD" })).status).toBe(404);
  });

  it("fills in defaults", async () => {
    const { input } = await create({ seed: null, negative_prompt: "" });
    expect(input.num_inference_steps).toBe(25);
    expect(input.seed).toBeGreaterThanOrEqual(0);
    expect(input.seed).toBeLessThan(2 ** 32);
  });

  it("passes sampler settings to the worker and echoes them", async () => {
    const settings = {
      scheduler: "strided",
      prior_rule: 2,
      prior_weight: 1.5,
      remasking: 0.1,
      temperature: 0.7,
    };
    const { id, input } = await create({ ...settings, seed: 8 });
    expect(input).toMatchObject({ ...settings, order: "posterior" });
    expect(await worker.take({ id })).toMatchObject({
      scheduler: "strided",
      priorRule: 2,
      priorWeight: 1.5,
      remasking: 0.1,
      temperature: 0.7,
    });
  });

  it("computes the steps of the original's sampler from its speed", async () => {
    const original = { scheduler: "original", order: "posterior", temperature: 1 };
    const { id, input } = await create({ infer_speed: 2, seed: 12 });
    expect(input).toMatchObject({ ...original, infer_speed: 2, num_inference_steps: 26, prior_rule: 0 });
    expect(await worker.take({ id })).toMatchObject({
      scheduler: "original",
      inferSpeed: 2,
      numInferenceSteps: 26,
    });
    // What was answered makes the same images again. The model has four tokens, one for each of its first passes.
    const slow = await create({ infer_speed: 0.5, seed: 12 });
    expect(slow.input).toMatchObject({ ...original, num_inference_steps: 5, prior_rule: 1 });
    expect((await create({ ...slow.input, seed: 13 })).input).toEqual({ ...slow.input, seed: 13 });
    const plain = await create({ scheduler: "original", seed: 14 });
    expect(plain.input).toMatchObject({ ...original, infer_speed: 1, num_inference_steps: 50 });
  });

  it("leaves out settings that change nothing, which older workers do not know", async () => {
    const { id } = await create({ preset: "reference", seed: 9 });
    const job = await worker.take({ id });
    for (const name of ["order", "remasking", "temperature", "inferSpeed"])
      expect(job).not.toHaveProperty(name);
  });

  it.each<[object, object]>([
    [
      { preset: "draft" },
      { num_inference_steps: 5, scheduler: "strided", order: "confidence", temperature: 0.5 },
    ],
    [
      { preset: "fast" },
      { num_inference_steps: 10, scheduler: "strided", order: "confidence", temperature: 0.5 },
    ],
    [
      { preset: "best" },
      { num_inference_steps: 25, scheduler: "strided", order: "confidence", temperature: 0.5 },
    ],
    // The model has 50 timesteps.
    [
      { preset: "reference" },
      { num_inference_steps: 50, scheduler: "reference", order: "posterior", temperature: 1, remasking: 0 },
    ],
    [
      { preset: "draft", num_inference_steps: 4, prior_rule: 1 },
      { num_inference_steps: 4, scheduler: "strided", order: "posterior", prior_rule: 1, prior_weight: 0 },
    ],
    [
      { preset: "fast", order: "halton", remasking: 0.2, temperature: 1 },
      { num_inference_steps: 10, order: "halton", remasking: 0.2, temperature: 1, prior_rule: 0 },
    ],
  ])("takes %j for %j", async (given, meant) => {
    const { input } = await create(given);
    expect(input).toMatchObject(meant);
  });

  it("says when the prompt was truncated", async () => {
    const { metrics, logs } = await create({ prompt: "one two three four five six seven eight nine" });
    expect(metrics).toMatchObject({ prompt_tokens: 11, prompt_truncated: true });
    expect(logs).toMatch(/was truncated/);
  });

  it("is waited for as long as requested, and still starting after that", async () => {
    const prediction = call("/v1/predictions", {
      json: { input: { prompt: "a", num_inference_steps: 1, seed: 1 } },
      headers: { prefer: "wait=1" },
    });
    const response = await prediction;
    expect(response.headers.get("preference-applied")).toBe("wait=1");
    const late = await response.json<Prediction>();
    made.push(late.id);
    expect(late.status).toBe("starting");
  });

  it("is canceled immediately, waiting or running, and only by its owner", async () => {
    const waiting = await create({});
    const others = await call(path(waiting.urls.cancel), { method: "POST", key: "other-key" });
    expect(others.status).toBe(404);
    const canceled = await (await call(path(waiting.urls.cancel), { method: "POST" })).json<Prediction>();
    expect(canceled.status).toBe("canceled");

    const running = await create({});
    // A canceled job that waited is no longer in the queue: the next one taken is the running one's.
    const job = await worker.take({ id: running.id });
    const stopped = worker.canceled(job.id);
    await worker.say(job, {
      type: "started",
      worker: "a",
      numericsId: "n",
      resumedFrom: 0,
      total: job.numInferenceSteps,
    });
    await expect.poll(async () => (await get(running.id)).status).toBe("processing");
    await call(path(running.urls.cancel), { method: "POST" });
    await stopped;
    await worker.say(job, ...outputEvent(0));
    await worker.say(job, { type: "canceled" });
    expect(await get(running.id)).toMatchObject({ status: "canceled", output: null });
  });

  it("that has ended stops a worker that is still working on it", async () => {
    const { id, urls } = await create({});
    const job = await worker.take({ id });
    await call(path(urls.cancel), { method: "POST" });
    await worker.nc.flush();
    // Subscribed too late for the first request: the hub asks again when it hears of the work.
    const stopped = worker.canceled(id);
    await worker.nc.flush();
    await worker.say(job, ...stepEvent(1, job.numInferenceSteps));
    await stopped;
  });

  it("is refused while the queue is full, leaving nothing behind", async () => {
    const empty = await fillQueue();
    onTestFinished(empty);
    const refused = await call("/v1/predictions", { json: { input: { prompt: "a" } } });
    expect(refused.status).toBe(503);
    expect(refused.headers.get("retry-after")).toBe("5");
    expect(await refused.json()).toMatchObject({ code: "queue_full" });
    const images = await call("/v1/images/generations", { json: { prompt: "a" } });
    expect(images.status).toBe(503);
    expect(images.headers.get("x-should-retry")).toBe("true");
    expect(await images.json()).toMatchObject({ error: { code: "queue_full", type: "server_error" } });
    const { live_predictions: live } = await (await call("/healthz")).json<{ live_predictions: number }>();
    expect(live).toBe(made.length);
  });
});

describe("the images endpoint", () => {
  /** Answers the next prediction while the request for it is open. */
  async function generate(body: object, seed: number): Promise<Response> {
    const answered = call("/v1/images/generations", { json: { ...body, seed } });
    const job = await worker.take({ seed });
    await worker.play(job);
    return answered;
  }

  it("answers with the images themselves", async () => {
    const response = await generate({ prompt: "a cat", n: 2, size: "16x16", quality: null, user: "u" }, 101);
    expect(response.status).toBe(200);
    const body = await response.json<{ data: { b64_json: string }[] }>();
    expect(body).toMatchObject({
      output_format: "png",
      size: "16x16",
      seed: 101,
      prompt_truncated: false,
      usage: {
        input_tokens: 4,
        output_tokens: 8,
        total_tokens: 12,
        input_tokens_details: { text_tokens: 4 },
      },
    });
    const image = Uint8Array.from(atob(body.data[1]?.b64_json ?? ""), (char) => char.charCodeAt(0));
    expect(image).toEqual(IMAGE);
  });

  it("answers with URLs that need no key", async () => {
    const response = await generate({ prompt: "a", response_format: "url", model: MODEL.name }, 102);
    const { data } = await response.json<{ data: { url: string }[] }>();
    expect((await call(path(data[0]?.url ?? ""), { key: null })).status).toBe(200);
  });

  it("responds even if the hub is killed while it waits", async () => {
    const answered = call("/v1/images/generations", { json: { prompt: "a", seed: 105 } });
    const job = await worker.take({ seed: 105 });
    await worker.say(job, ...stepEvent(1, job.numInferenceSteps));
    await expect.poll(async () => (await get(job.id)).status).toBe("processing");
    await abortAllDurableObjects();
    await worker.play(job);
    expect((await answered).status).toBe(200);
  });

  it("accepts sampler settings too", async () => {
    const settings = { scheduler: "strided", order: "halton", temperature: 0.8, num_inference_steps: 3 };
    const answered = call("/v1/images/generations", { json: { prompt: "a", seed: 106, ...settings } });
    const job = await worker.take({ seed: 106 });
    expect(job).toMatchObject({
      scheduler: "strided",
      order: "halton",
      temperature: 0.8,
      numInferenceSteps: 3,
    });
    await worker.play(job);
    expect((await answered).status).toBe(200);
  });

  it("cancels the prediction when its client disconnects", async () => {
    const leaving = new AbortController();
    const answered = call("/v1/images/generations", {
      json: { prompt: "a", seed: 104 },
      signal: leaving.signal,
    });
    const job = await worker.take({ seed: 104 });
    const stopped = worker.canceled(job.id);
    await worker.nc.flush();
    leaving.abort();
    await expect(answered).rejects.toThrow();
    await stopped;
    await expect.poll(async () => (await get(job.id)).status).toBe("canceled");
  });

  it("reports a worker's failure", async () => {
    const answered = call("/v1/images/generations", { json: { prompt: "a", seed: 103 } });
    const job = await worker.take({ seed: 103 });
    await worker.say(job, { type: "failed", error: { code: "model_error", message: "broken" } });
    const response = await answered;
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({
      error: { message: "broken", type: "server_error", code: "model_error" },
    });
  });
});

describe("a NATS that cannot be reached", () => {
  const linkTo = (port: string): NatsLink =>
    new NatsLink({
      urls: [`ws://127.0.0.1:${port}`],
      user: undefined,
      password: undefined,
      credentials: undefined,
      name: "test",
      log: createLogger(() => {}),
      onOpen: () => Promise.resolve(),
      onClosed: () => {},
    });
  const unavailable = { code: "queue_unavailable", retryable: true };

  it("is reported when it refuses", async () => {
    await expect(linkTo("1").open()).rejects.toMatchObject(unavailable);
  });

  it("is given up after the caller's time limit when it does not respond", async () => {
    const opened = linkTo(env.RECEIVER_PORT).open(50);
    await expect(opened).rejects.toMatchObject({ ...unavailable, cause: { message: "timeout" } });
  });
});
