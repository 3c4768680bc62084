// Inputs as people bring them from other services: names, seeds and encodings that mean something else, or more, elsewhere.

import type { Job } from "../../shared/job.ts";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { call, MODEL, PlayedWorker } from "./support.ts";
import { PLAYED_MODELS } from "../support/played-models.ts";

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());

const made: string[] = [];
afterEach(async () => {
  for (const id of made.splice(0)) await call(`/v1/predictions/${id}/cancel`, { method: "POST" });
});

interface Answer {
  id: string;
  status: number | string;
  code: string;
  detail: string;
  input: Record<string, unknown>;
  logs: string;
  metrics: { prompt_truncated: boolean };
  errors: { path: string; message: string }[];
}

/** Sends a body as it is. */
async function send(body: BodyInit, headers: Record<string, string> = {}): Promise<Response> {
  const response = await call("/v1/predictions", {
    method: "POST",
    body,
    headers: { "content-type": "application/json", ...headers },
  });
  if (response.status === 201) made.push((await response.clone().json<Answer>()).id);
  return response;
}

/** The input as completed by the edge. */
async function completed(input: object | string): Promise<Record<string, unknown>> {
  const text = typeof input === "string" ? input : JSON.stringify({ prompt: "a", ...input });
  const response = await send(`{"input": ${text}}`);
  expect(response.status).toBe(201);
  return (await response.json<Answer>()).input;
}

describe("values of other services", () => {
  it("mean what they mean there", async () => {
    expect(await completed({ output_format: "jpg" })).toMatchObject({
      output_format: "jpeg",
      output_quality: 80,
    });
    for (const guidance_scale of [0, 0.5, 1]) {
      expect(await completed({ guidance_scale })).toMatchObject({ guidance_scale: 1 });
    }
    const [one, other] = [await completed({ seed: -1 }), await completed({ seed: -1 })];
    expect(one["seed"]).toBeGreaterThanOrEqual(0);
    expect(one["seed"]).not.toBe(other["seed"]);
    // Lossless, and no negative prompt.
    expect(await completed({ output_quality: 100, negative_prompt: " ", guidance_scale: 1 })).toMatchObject({
      output_quality: null,
      negative_prompt: null,
    });
  });

  it("give a size, of which one side is enough", async () => {
    /** The job of a prediction that is then over, so that the next one is not kept waiting. */
    const jobOf = async (size: object): Promise<{ input: object; job: Job }> => {
      const response = await send(JSON.stringify({ input: { prompt: "a", ...size } }));
      const { id, input } = await response.json<Answer>();
      const job = await worker.take({ id });
      await (await call(`/v1/predictions/${id}/cancel`, { method: "POST" })).body?.cancel();
      return { input, job };
    };
    for (const size of [{ width: 640, height: 640 }, { width: 640 }, { height: 640 }]) {
      const { input, job } = await jobOf(size);
      expect(input).toMatchObject({ width: 640, height: 640 });
      expect(job).toMatchObject({ outputSize: { width: 640, height: 640 } });
    }
    for (const size of [{}, { width: null, height: null }, { width: 16, height: 16 }]) {
      // A worker of a release without sizes can run it.
      expect((await jobOf(size)).job).not.toHaveProperty("outputSize");
    }
    const many = await send(
      '{"input": {"prompt": "a", "width": 1536, "num_outputs": 10, "num_previews": 1}}',
    );
    expect((await many.json<Answer>()).detail).toMatch(/^input.width asks for 47185920 pixels in all/);
    const wide = await send('{"input": {"prompt": "a", "width": 640, "height": 320}}');
    expect(wide.status).toBe(422);
    expect((await wide.json<Answer>()).errors).toEqual([
      {
        path: "input.height",
        message:
          "must have the proportions of vqd/played's images, 16x16: the largest within 640x320 is 320x320",
      },
    ]);
  });

  it("come back such that the answer's input can be sent again", async () => {
    for (const input of [
      {},
      { output_format: "jpg" },
      { seeds: ["18446744073709551615"] },
      { guidance_scale: 0 },
      { width: 32 },
    ]) {
      const first = await completed(input);
      expect(await completed(first)).toEqual(first);
    }
  });

  it("are accepted by OpenAI's endpoint too", async () => {
    const json = { prompt: "a", seed: "18446744073709551614", output_format: "jpg", num_inference_steps: 1 };
    const answering = call("/v1/images/generations", { json });
    const job = await worker.take({ seed: json.seed });
    expect(job).toMatchObject({ outputFormat: "jpeg", outputQuality: 100 });
    await worker.play(job);
    expect(await (await answering).json()).toMatchObject({ output_format: "jpeg", seed: json.seed });
  });
});

describe("seeds of up to 64 bits", () => {
  it.each([
    ["9007199254740991", 9_007_199_254_740_991],
    ["9007199254740993", "9007199254740993"],
    ["18446744073709551615", "18446744073709551615"],
    ['"18446744073709551615"', "18446744073709551615"],
    ['"007"', 7],
  ])("keep every bit: %s", async (text, expected) => {
    expect(await completed(`{"prompt": "a", "seed": ${text}}`)).toMatchObject({ seed: expected });
    expect(await completed(`{"prompt": "a", "seeds": [${text}]}`)).toMatchObject({ seeds: [expected] });
  });

  it("are refused beyond, also as numbers with exponents, and where a number is meant otherwise", async () => {
    for (const text of ["18446744073709551616", "1e18", "9007199254740993.5", '"-1"']) {
      const response = await send(`{"input": {"prompt": "a", "seed": ${text}}}`);
      expect(await response.json()).toMatchObject({ status: 422, errors: [{ path: "input.seed" }] });
    }
    const steps = await send(
      '{"input": {"prompt": ["a", 9007199254740993], "num_inference_steps": 9007199254740993}}',
    );
    const { errors } = await steps.json<Answer>();
    expect(errors.map(({ path }) => path).toSorted()).toEqual([
      "input.num_inference_steps",
      "input.prompt.1",
    ]);
  });

  it("are one per image, for the worker too", async () => {
    const seeds = [7, "18446744073709551615", 7];
    const input = await completed({ prompt: ["a", "b", "c"], seeds });
    expect(input).toMatchObject({ seeds });
    expect(input).not.toHaveProperty("seed");
    const job = await worker.take({ id: made[0] ?? "" });
    expect(job).toMatchObject({ seed: 7, seeds });
  });
});

describe("a prompt longer than the model reads", () => {
  const prompt = "one two three four five six seven";

  it("is truncated, which metrics and logs say, unless that is to be an error", async () => {
    for (const prompt_too_long of [undefined, null, "truncate"]) {
      const response = await send(JSON.stringify({ input: { prompt, prompt_too_long } }));
      const { logs, metrics, input } = await response.json<Answer>();
      expect(metrics.prompt_truncated).toBe(true);
      expect(logs).toContain("was truncated");
      expect(input["prompt_too_long"]).toBe("truncate");
    }
    const refused = await send(JSON.stringify({ input: { prompt, prompt_too_long: "error" } }));
    expect(await refused.json()).toMatchObject({ status: 422, errors: [{ path: "input.prompt" }] });
    expect(await completed({ prompt_too_long: "error" })).toMatchObject({ prompt_too_long: "error" });
  });
});

describe("a body in another encoding", () => {
  const TEXT = JSON.stringify({ input: { prompt: "a compressed wish", seed: 5 } });
  const compress = async (text: string, format: "gzip" | "deflate"): Promise<Uint8Array<ArrayBuffer>> => {
    const stream = new Blob([text]).stream().pipeThrough(new CompressionStream(format));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  it.each([
    ["gzip", "gzip"],
    ["GZIP", "gzip"],
    ["x-gzip", "gzip"],
    ["deflate", "deflate"],
  ] as const)("is decoded: %s", async (name, format) => {
    const response = await send(await compress(TEXT, format), { "content-encoding": name });
    expect(response.status).toBe(201);
    expect((await response.json<Answer>()).input).toMatchObject({ prompt: "a compressed wish", seed: 5 });
  });

  it("is taken as it is with identity", async () => {
    expect((await send(TEXT, { "content-encoding": "identity" })).status).toBe(201);
  });

  it.each(["br", "zstd", "compress", "gzip, gzip", "deflate, identity"])("is refused: %s", async (name) => {
    const response = await send(TEXT, { "content-encoding": name });
    expect(response.status).toBe(415);
    expect(response.headers.get("accept-encoding")).toBe("gzip, deflate");
    expect(await response.json()).toMatchObject({
      code: "unsupported_media_type",
      errors: [{ path: "Content-Encoding", message: "must be gzip, deflate or identity" }],
    });
  });

  it("is refused if it is not what it says, or cut short", async () => {
    const gzip = await compress(TEXT, "gzip");
    for (const body of [TEXT, gzip.subarray(0, gzip.length - 10), await compress(TEXT, "deflate")]) {
      const response = await send(body, { "content-encoding": "gzip" });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({
        code: "malformed_body",
        detail: "the body is not valid gzip",
      });
    }
  });

  it("is refused if it is a bomb, without being decoded whole", async () => {
    const bomb = await compress(`{"input": {"prompt": "${" ".repeat(100_000_000)}"}}`, "gzip");
    expect(bomb.length).toBeLessThan(200_000);
    const response = await send(bomb, { "content-encoding": "gzip" });
    expect(response.status).toBe(413);
    // As long as the limit allows, it is accepted.
    const padded = await send(await compress(TEXT + " ".repeat(280_000), "gzip"), {
      "content-encoding": "gzip",
    });
    expect(padded.status).toBe(201);
  });
});

it("each field has one error", async () => {
  const input = {
    prompt: 5,
    num_inference_steps: 1e300,
    guidance_scale: -1e300,
    seed: "x",
    num_outputs: 2 ** 53,
  };
  const { errors } = await (await send(JSON.stringify({ input }))).json<Answer>();
  expect(errors.map(({ path }) => path).toSorted()).toEqual(
    Object.keys(input)
      .map((field) => `input.${field}`)
      .toSorted(),
  );
  expect(errors.find(({ path }) => path.endsWith("steps"))?.message).toBe("must be at most 1000");
});

describe("a model", () => {
  interface Described {
    latest_version: {
      openapi_schema: { components: { schemas: { Input: { properties: Record<string, unknown> } } } };
    };
  }

  it("describes its own number of steps", async () => {
    const { latest_version } = await (await call(`/v1/models/${MODEL.name}`)).json<Described>();
    const { properties } = latest_version.openapi_schema.components.schemas.Input;
    expect(properties["num_inference_steps"]).toMatchObject({
      anyOf: [{ type: "integer", minimum: 1, maximum: MODEL.numTrainTimesteps }, { type: "null" }],
    });
  });

  it("whose default is no guidance takes a negative prompt only with a guidance scale", async () => {
    await worker.announce({ ...MODEL, ...PLAYED_MODELS.unguided, defaults: { guidanceScale: 1 } });
    const path = "/v1/models/vqd/unguided";
    await expect.poll(async () => (await call(path)).status, { interval: 200 }).toBe(200);
    const ask = (input: object): Promise<Response> =>
      call(`${path}/predictions`, { json: { input: { prompt: "a", negative_prompt: "b", ...input } } });
    expect(await (await ask({})).json()).toMatchObject({
      status: 422,
      errors: [{ path: "input.negative_prompt", message: /has no effect with guidance_scale 1/ }],
    });
    const guided = await ask({ guidance_scale: 2 });
    expect(guided.status).toBe(201);
    made.push((await guided.json<Answer>()).id);
  });
});
