// The openai and replicate clients, unchanged, against the running system; and against answers that are broken.

import OpenAI, { APIConnectionTimeoutError, type APIError, ConflictError, InternalServerError } from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { request } from "./support/client.ts";
import { CHECKS, generate, INPUT, openaiOf, replicateOf, stream } from "./support/client-checks.ts";
import { type Breaking, breakingProxy } from "./support/proxy.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

/** Jobs that fit into the queue. */
const QUEUE_LIMIT = 4;

let test: TestStack;
beforeAll(async () => {
  test = await startTestStack({
    workers: 1,
    model: TINY_MODEL,
    queueLimit: QUEUE_LIMIT,
    // The queue is to fill, not the hub.
    edgeEnv: { DISPATCH_AHEAD: "100" },
  });
});
afterAll(() => test.stop());

describe("a client", () => {
  it.each(Object.entries(CHECKS))("%s", (_, check) => check(test));

  it("openai: a client that disconnects from its stream cancels the prediction", async () => {
    const leaving = await stream(openaiOf(test), { num_inference_steps: 100, n: 4, partial_images: 3 });
    for await (const event of leaving) {
      expect(event.type).toBe("image_generation.partial_image");
      break;
    }
    const newest = async (): Promise<string | undefined> =>
      (await replicateOf(test).predictions.list()).results[0]?.status;
    await expect.poll(newest, { timeout: 20_000 }).toBe("canceled");
  });
});

/** Puts one text for another, and fails if it is not there: then nothing would be broken. */
const replace =
  (found: string | RegExp, replacement: string): Breaking =>
  (body) =>
    body.replaceAll(typeof found === "string" ? found : new RegExp(found, "g"), replacement);

describe("a broken answer is noticed:", () => {
  it("not by the proxy itself", async () => {
    await using proxy = await breakingProxy(test, (body) => body);
    for (const check of Object.values(CHECKS)) await check(proxy);
  });

  it.each<[keyof typeof CHECKS, string, Breaking]>([
    ["openai: images in the answer", "no image", replace('"b64_json"', '"image"')],
    ["openai: images in the answer", "an image cut short", replace(/"b64_json":"[^"]{50}/, '"b64_json":"')],
    ["openai: images in the answer", "other usage", replace('"total_tokens":', '"total_tokens":1')],
    ["openai: images by URL, in each format and less quality", "no URL", replace('"url"', '"link"')],
    ["openai: images by URL, in each format and less quality", "a wrong URL", replace("/files/", "/files/x")],
    ["openai: a stream of partial images", "no last event", replace("image_generation.completed", "other")],
    [
      "openai: a stream of partial images",
      "a wrong index",
      replace('"partial_image_index":1', '"partial_image_index":0'),
    ],
    ["openai: a stream of partial images", "no image", replace('"b64_json"', '"image"')],
    ["openai: errors of its own classes", "another dialect", replace('"error":{', '"problem":{')],
    ["openai: errors of its own classes", "no field", replace('"param":"prompt"', '"param":null')],
    ["replicate: run, with progress", "no output", replace('"output":', '"outputs":')],
    ["replicate: run, with progress", "an output of another type", replace('"output":[', '"output":[1,')],
    ["replicate: run that blocks", "no output", replace(/"output":\[[^\]]*\]/, '"output":null')],
    ["replicate: create by version, wait, logs", "logs without tqdm", replace("%|", "%:")],
    ["replicate: create by version, wait, logs", "no metrics", replace('"metrics":', '"figures":')],
    ["replicate: get, cancel, list", "no cancellation", replace('"status":"canceled"', '"status":"failed"')],
    ["replicate: get, cancel, list", "no next page", replace(/"next":"[^"]*"/, '"next":null')],
    ["replicate: a stream", "no end", replace("event: done", "event: end")],
    [
      "replicate: a stream",
      "a step lost",
      replace('event: step\ndata: {"step":2,', 'event: x\ndata: {"step":2,'),
    ],
    ["replicate: an error that names the field", "no field", replace('"path":"input.steps"', '"path":""')],
  ])("%s: %s", async (name, _, breaking) => {
    let isBroken = false;
    await using proxy = await breakingProxy(test, (body, path) => {
      const broken = breaking(body, path);
      isBroken ||= broken !== body;
      return broken;
    });
    await expect(CHECKS[name](proxy)).rejects.toThrow();
    // Else it failed for another reason.
    expect(isBroken).toBe(true);
  });
});

// The last ones here: from now on nobody works.
describe("without a worker, openai", () => {
  const waiting: string[] = [];
  beforeAll(async () => {
    await test.stack.workers[0]?.stop();
  });

  const cancelNewest = async (): Promise<void> => {
    const { results } = await replicateOf(test).predictions.list();
    const [newest] = results;
    if (newest?.status === "starting") await replicateOf(test).predictions.cancel(newest.id);
  };

  it("throws a conflict when somebody else cancels the prediction", async () => {
    const answered = generate(openaiOf(test)).catch((error: unknown) => error);
    let error: unknown;
    // Canceled as soon as it is there.
    const done = answered.then((thrown) => (error = thrown));
    await expect
      .poll(async () => {
        await cancelNewest();
        return error;
      })
      .toBeInstanceOf(ConflictError);
    await done;
    expect(error).toMatchObject({ status: 409, code: "canceled" });
  });

  it("that times out and tries again has a single prediction, which is canceled once it gives up", async () => {
    let tries = 0;
    const openai = new OpenAI({
      apiKey: test.apiKey,
      baseURL: `${test.url}/v1`,
      timeout: 2_000,
      maxRetries: 2,
      fetch: (url, init) => {
        tries++;
        return fetch(url, init);
      },
    });
    const seed = 20_261_129;
    await expect(generate(openai, { seed })).rejects.toBeInstanceOf(APIConnectionTimeoutError);
    expect(tries).toBe(3);
    const made = async (): Promise<string[]> => {
      const { results } = await replicateOf(test).predictions.list();
      return results.flatMap(({ input, status }) => ((input as typeof INPUT).seed === seed ? [status] : []));
    };
    expect(await made()).toEqual(["starting"]);
    await expect.poll(made, { timeout: 40_000 }).toEqual(["canceled"]);
  });

  it("throws the error of a stream that had begun", async () => {
    const open = await stream(openaiOf(test));
    await cancelNewest();
    const reading = async (): Promise<void> => {
      for await (const event of open) expect(event).toBeUndefined();
    };
    await expect(reading()).rejects.toMatchObject({ code: "canceled", message: /canceled/ });
  });

  it("tries again, as told, while the queue is full", async () => {
    for (let i = 0; i < QUEUE_LIMIT; i++) {
      const response = await request(test, "/v1/predictions", { input: INPUT });
      expect(response.status).toBe(201);
      waiting.push(((await response.json()) as { id: string }).id);
    }
    const error = await generate(openaiOf(test)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InternalServerError);
    expect(error).toMatchObject({ status: 503, code: "queue_full" });
    const headers = (error as APIError).headers as Headers;
    expect([headers.get("retry-after"), headers.get("x-should-retry")]).toEqual(["5", "true"]);

    // The client waits for as long as it is told, and then there is room.
    let requests = 0;
    await using proxy = await breakingProxy(test, (body) => {
      requests++;
      return body;
    });
    const trying = generate(openaiOf(proxy, 1)).catch((thrown: unknown) => thrown);
    await expect.poll(() => requests, { timeout: 20_000 }).toBe(1);
    for (const id of waiting.splice(0)) await replicateOf(test).predictions.cancel(id);
    await expect
      .poll(async () => (await replicateOf(test).predictions.list()).results[0]?.status, { timeout: 20_000 })
      .toBe("starting");
    await cancelNewest();
    expect(await trying).toMatchObject({ status: 409 });
    expect(requests).toBe(2);
  });
});
