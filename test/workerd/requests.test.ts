// What the edge answers to requests, good and bad, without any prediction being made.

import { env } from "cloudflare:workers";
import { createExecutionContext } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { createApp } from "../../edge/app.ts";
import { preferredWait } from "../../edge/http/prefer.ts";
import { call, KEY, MODEL, ORIGIN, PlayedWorker } from "./support.ts";
import { PLAYED_MODELS } from "../support/played-models.ts";

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(async () => {
  await worker.close();
});

interface Problem {
  status: number;
  detail: string;
  code: string;
  request_id: string;
  errors?: { path: string; message: string }[];
}

const predict = (input: unknown, rest: object = {}): Promise<Response> =>
  call("/v1/predictions", { json: { input, ...rest } });
const generate = (body: unknown): Promise<Response> => call("/v1/images/generations", { json: body });
const raw = (
  body: BodyInit,
  headers: Record<string, string> = {},
  path = "/v1/predictions",
): Promise<Response> =>
  call(path, { method: "POST", body, headers: { "content-type": "application/json", ...headers } });

async function problemOf(response: Response): Promise<Problem> {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const problem = await response.json<Problem>();
  expect(problem.status).toBe(response.status);
  expect(problem.request_id).toBe(response.headers.get("x-request-id"));
  return problem;
}

it("lists a bounded number of errors, with bounded paths, whatever a body holds", async () => {
  const fields = Array.from({ length: 5_000 }, (_, i) => [`field${i}`, 1] as const);
  const long = "x".repeat(100_000);
  const response = await predict(Object.fromEntries([...fields, [long, 1]]), { [long]: 1 });
  expect(response.status).toBe(422);
  const text = await response.text();
  expect(text.length).toBeLessThan(10_000);
  const { errors = [] } = JSON.parse(text) as Problem;
  expect(errors).toHaveLength(33);
  expect(errors.at(-1)).toEqual({ path: "", message: "has further errors; only the first 32 are listed" });
});

describe("bad predictions", () => {
  const prompt = "a red apple";
  it.each([
    ["no prompt", {}, "input.prompt", /required/],
    ["an empty prompt", { prompt: "" }, "input.prompt", /empty/],
    ["a blank prompt", { prompt: " \n " }, "input.prompt", /empty/],
    ["a prompt of 10,000 characters", { prompt: "a".repeat(10_000) }, "input.prompt", /at most 4000/],
    ["a prompt of another type", { prompt: 5 }, "input.prompt", /string or a list/],
    ["a list with an empty prompt", { prompt: ["a", ""] }, "input.prompt.1", /empty/],
    ["an empty list", { prompt: [] }, "input.prompt", /at least 1/],
    ["eleven prompts", { prompt: Array.from({ length: 11 }, () => "a") }, "input.prompt", /at most 10/],
    ["an unknown field", { prompt, sampler: "ddim" }, "input.sampler", /not a known field/],
    ["no steps", { prompt, num_inference_steps: 0 }, "input.num_inference_steps", /at least 1/],
    ["1e9 steps", { prompt, num_inference_steps: 1e9 }, "input.num_inference_steps", /at most/],
    ["steps as text", { prompt, num_inference_steps: "x" }, "input.num_inference_steps", /integer/],
    ["half a step", { prompt, num_inference_steps: 1.5 }, "input.num_inference_steps", /integer/],
    [
      "more steps than trained",
      { prompt, num_inference_steps: 51 },
      "input.num_inference_steps",
      /at most 50/,
    ],
    ["guidance as text", { prompt, guidance_scale: "5" }, "input.guidance_scale", /number/],
    ["negative guidance", { prompt, guidance_scale: -0.5 }, "input.guidance_scale", /at least 0/],
    ["a truncation rate of 0", { prompt, truncation_rate: 0 }, "input.truncation_rate", /greater than 0/],
    ["a negative seed", { prompt, seed: -2 }, "input.seed", /from 0 to 2\^64 - 1, or -1/],
    ["a seed beyond 64 bits", { prompt, seed: 2 ** 64 }, "input.seed", /from 0 to 2\^64 - 1, or -1/],
    ["a seed that is no number", { prompt, seed: "7a" }, "input.seed", /from 0 to 2\^64 - 1, or -1/],
    ["a random seed in a list", { prompt, seeds: [-1] }, "input.seeds.0", /from 0 to 2\^64 - 1$/],
    ["seeds for other images", { prompt, num_outputs: 2, seeds: [1] }, "input.seeds", /2 entries.* not 1/],
    ["a seed besides seeds", { prompt, seed: 1, seeds: [1] }, "input.seeds", /together with seed/],
    [
      "a negative prompt without guidance",
      { prompt, guidance_scale: 1, negative_prompt: "hat" },
      "input.negative_prompt",
      /no effect with guidance_scale 1/,
    ],
    [
      "a quality of a lossless file",
      { prompt, output_format: "png", output_quality: 50 },
      "input.output_quality",
      /must be 100 or omitted for png/,
    ],
    [
      "previews of a single step",
      { prompt, num_inference_steps: 1, num_previews: 2 },
      "input.num_previews",
      /with a single step/,
    ],
    [
      "a prompt too long, if that is an error",
      { prompt: ["a", "one two three four five six seven"], prompt_too_long: "error" },
      "input.prompt.1",
      /has 9 tokens.* reads 8/,
    ],
    [
      "a negative prompt too long, if that is an error",
      { prompt, negative_prompt: "one two three four five six seven", prompt_too_long: "error" },
      "input.negative_prompt",
      /has 9 tokens/,
    ],
    ["too many outputs", { prompt, num_outputs: 11 }, "input.num_outputs", /at most 10/],
    ["too many images in all", { prompt: ["a", "b"], num_outputs: 6 }, "input.num_outputs", /12 images/],
    [
      "contradicting counts",
      { prompt, num_outputs: 1, num_images_per_prompt: 2 },
      "input.num_images_per_prompt",
      /contradicts/,
    ],
    [
      "an unknown scheduler",
      { prompt, scheduler: "x" },
      "input.scheduler",
      /must be "reference" or "strided" or "original"/,
    ],
    ["a speed of 0", { prompt, infer_speed: 0 }, "input.infer_speed", /must be at least 0.1/],
    [
      "a speed of another sampler",
      { prompt, infer_speed: 2, scheduler: "strided" },
      "input.infer_speed",
      /only has an effect with scheduler "original"/,
    ],
    [
      "other steps than the speed's",
      { prompt, infer_speed: 2, num_inference_steps: 25 },
      "input.num_inference_steps",
      /must be 26 or omitted with infer_speed 2/,
    ],
    [
      "a prior rule with skipped timesteps",
      { prompt, infer_speed: 2, prior_rule: 1 },
      "input.prior_rule",
      /has no effect with infer_speed 2/,
    ],
    [
      "several passes without a prior rule",
      { prompt, infer_speed: 0.5, prior_rule: 0 },
      "input.prior_rule",
      /must be 1 or 2 with infer_speed 0.5/,
    ],
    [
      "an order of the original's sampler",
      { prompt, scheduler: "original", order: "halton" },
      "input.order",
      /must be "posterior" with scheduler "original"/,
    ],
    ["an unknown prior rule", { prompt, prior_rule: 3 }, "input.prior_rule", /must be 0 or 1 or 2/],
    ["a prior rule as text", { prompt, prior_rule: "2" }, "input.prior_rule", /must be 0 or 1 or 2/],
    [
      "a negative prior weight",
      { prompt, prior_rule: 2, prior_weight: -1 },
      "input.prior_weight",
      /at least 0/,
    ],
    [
      "too high a prior weight",
      { prompt, prior_rule: 2, prior_weight: 11 },
      "input.prior_weight",
      /at most 10/,
    ],
    ["a weight without its rule", { prompt, prior_weight: 1 }, "input.prior_weight", /with prior_rule 2/],
    [
      "a weight with another rule",
      { prompt, prior_rule: 1, prior_weight: 1 },
      "input.prior_weight",
      /with prior_rule 2/,
    ],
    [
      "an unknown order",
      { prompt, order: "x" },
      "input.order",
      /must be "posterior" or "confidence" or "halton"/,
    ],
    ["a temperature of 0", { prompt, temperature: 0 }, "input.temperature", /at least 0.01/],
    ["too high a temperature", { prompt, temperature: 2.5 }, "input.temperature", /at most 2/],
    ["remasking more than all", { prompt, remasking: 1.5 }, "input.remasking", /at most 1/],
    [
      "purity in another order",
      { prompt, prior_rule: 1, order: "confidence" },
      "input.prior_rule",
      /must be 0 with order "confidence"/,
    ],
    [
      "remasking without an order",
      { prompt, order: "posterior", remasking: 0.1 },
      "input.remasking",
      /no effect with order "posterior"/,
    ],
    ["an unknown format", { prompt, output_format: "gif" }, "input.output_format", /png/],
  ])("refuses %s with 422", async (_, input, path, message) => {
    const response = await predict(input);
    expect(response.status).toBe(422);
    const { errors } = await problemOf(response);
    expect(errors?.[0]?.path).toBe(path);
    expect(errors?.[0]?.message).toMatch(message);
  });

  it.each([
    ["an unknown model", "vqd/none"],
    ["an unknown version of a model", `${MODEL.name}:${"0".repeat(64)}`],
    ["a version of a version", `${MODEL.name}:${MODEL.version}:junk`],
    ["what is no model name", "../../etc"],
  ])("refuses %s with 422", async (_, version) => {
    const response = await predict({ prompt }, { version });
    expect(response.status).toBe(422);
    expect((await problemOf(response)).errors?.[0]?.path).toBe("version");
    const byName = await predict({ prompt }, { model: version });
    expect((await problemOf(byName)).errors?.[0]?.path).toBe("model");
  });

  it("accepts the model's name as model or as version, but not both", async () => {
    expect((await predict({ prompt }, { model: MODEL.name })).status).toBe(201);
    const both = await problemOf(await predict({ prompt }, { model: MODEL.name, version: MODEL.version }));
    expect(both.errors).toEqual([{ path: "model", message: "must be omitted: the model is already given" }]);
    for (const path of ["model", "version"]) {
      const json = { input: { prompt }, [path]: path === "model" ? MODEL.name : MODEL.version };
      const inPath = await call(`/v1/models/${MODEL.name}/predictions`, { json });
      expect(inPath.status).toBe(422);
      const { errors } = await inPath.json<Problem>();
      expect(errors).toEqual([{ path, message: "must be omitted: the model is already given" }]);
    }
  });

  it("reports an unknown field next to the input, and a body that is not an object", async () => {
    const unknown = await problemOf(await predict({ prompt }, { webhok: "x" }));
    expect(unknown.errors).toEqual([{ path: "webhok", message: "is not a known field" }]);
    expect((await problemOf(await call("/v1/predictions", { json: [] }))).detail).toMatch(
      /must be an object/,
    );
  });

  it("lists all errors at once", async () => {
    const { errors } = await problemOf(await predict({ prompt: "", seed: "x", foo: 1 }));
    expect(errors?.map(({ path }) => path)).toEqual(["input.prompt", "input.seed", "input.foo"]);
  });
});

describe("bad bodies", () => {
  it.each([
    ["broken JSON", "{", 400, "malformed_body", /not valid JSON/],
    ["an empty body", "", 400, "malformed_body", /empty/],
    ["NaN", '{"input":{"prompt":"a","guidance_scale":NaN}}', 400, "malformed_body", /NaN/],
    ["Infinity", '{"input":{"prompt":"a","seed":-Infinity}}', 400, "malformed_body", /Infinity/],
    ["broken UTF-8", new Uint8Array([0x22, 0xff, 0x22]), 400, "malformed_body", /UTF-8/],
    ["a deep nest", "[".repeat(60_000), 400, "malformed_body", /not valid JSON/],
    [
      "2 MB",
      JSON.stringify({ input: { prompt: "a".repeat(2_000_000) } }),
      413,
      "payload_too_large",
      /288 KiB/,
    ],
  ] as const)("refuses %s", async (_, body, status, code, detail) => {
    const response = await raw(body);
    expect(response.status).toBe(status);
    const problem = await problemOf(response);
    expect(problem.code).toBe(code);
    expect(problem.detail).toMatch(detail);
  });

  it("counts the bytes of a stream, whatever its headers say", async () => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    const pump = (async () => {
      for (let i = 0; i < 40; i++) await writer.write(new Uint8Array(10_000).fill(0x20));
      await writer.close();
    })();
    const response = await raw(readable);
    expect(response.status).toBe(413);
    await pump;
  });

  it("accepts the longest prompts, even with six bytes per character", async () => {
    const text = "é".repeat(4_000);
    const json = { input: { prompt: Array.from({ length: 10 }, () => text), negative_prompt: text } };
    for (const body of [JSON.stringify(json), JSON.stringify(json).replaceAll("é", String.raw`\u00e9`)]) {
      const response = await raw(body);
      expect(response.status).toBe(201);
      const { id } = await response.json<{ id: string }>();
      await call(`/v1/predictions/${id}/cancel`, { method: "POST" });
    }
  });

  it("requires the content type of JSON", async () => {
    const response = await raw("{}", { "content-type": "text/plain" });
    expect(response.status).toBe(415);
    expect((await problemOf(response)).detail).toMatch(/application\/json/);
  });
});

describe("Prefer", () => {
  it.each([
    [undefined, 0],
    ["respond-async", 0],
    ["waiting=5", 0],
    ["wait=x", 0],
    ["wait", 60],
    ["wait=5", 5],
    ['respond-async, wait="7"', 7],
    ["wait=100000", 60],
    ["wait=9999999", 60],
    ["wait=0", 0],
  ])("%j waits %i s", (header, seconds) => {
    expect(preferredWait(header)).toBe(seconds);
  });
});

describe("access", () => {
  it.each([
    ["no key", null, {}],
    ["a wrong key", "nope", {}],
    ["another scheme", null, { authorization: "Basic dGVzdDp4" }],
  ])("answers 401 to %s", async (_, key, headers) => {
    const response = await call("/v1/predictions", { json: { input: { prompt: "a" } }, key, headers });
    expect(response.status).toBe(401);
    expect(response.headers.get("www-authenticate")).toMatch(/^Bearer/);
    expect((await problemOf(response)).code).toBe("unauthorized");
  });

  it("accepts Replicate's old Token scheme", async () => {
    const response = await call("/v1/models", { key: null, headers: { authorization: `Token ${KEY}` } });
    expect(response.status).toBe(200);
  });

  it("refuses everybody while no key is configured, and says so", async () => {
    const bindings = { ...env, API_KEYS: "" };
    const request = new Request(`${ORIGIN}/v1/models`, { headers: { authorization: "Bearer " } });
    const response = await createApp().fetch(request, bindings, createExecutionContext());
    expect(response.status).toBe(503);
    expect((await response.json<Problem>()).detail).toBe("no API key is configured");
  });

  it("names an invalid setting, but not its value", async () => {
    const lines = vi.spyOn(console, "log").mockImplementation(() => {});
    const bindings = { ...env, API_KEYS: "plain-secret" };
    const request = new Request(`${ORIGIN}/v1/models`);
    const response = await createApp().fetch(request, bindings, createExecutionContext());
    expect(response.status).toBe(503);
    for (const text of [await response.text(), JSON.stringify(lines.mock.calls)]) {
      expect(text).toContain("API_KEYS");
      expect(text).not.toContain("plain-secret");
    }
    lines.mockRestore();
  });

  it("logs requests without prompts, keys or capabilities", async () => {
    const lines = vi.spyOn(console, "log").mockImplementation(() => {});
    const bindings = { ...env, LOG_LEVEL: "debug" };
    const capability = "0123456789abcdefghjkmnpqrstvwxyz";
    const requests = [
      new Request(`${ORIGIN}/v1/predictions`, {
        method: "POST",
        headers: {
          authorization: `Bearer ${KEY}`,
          "content-type": "application/json",
          "x-request-id": "r-1",
        },
        body: JSON.stringify({ input: { prompt: "a secret wish", steps: 1 } }),
      }),
      new Request(`${ORIGIN}/v1/files/${capability}/0.png`),
      new Request(`${ORIGIN}/v1/streams/${"0".repeat(26)}/${capability}`),
      // Mistyped
      new Request(`${ORIGIN}/v1/files/${capability}`),
      new Request(`${ORIGIN}/v1/files/${capability}/0.png/`),
      new Request(`${ORIGIN}/v1/streams/${"0".repeat(26)}/${capability}/`),
      new Request(`${ORIGIN}/v1/streams//${capability}`),
    ];
    for (const request of requests) await createApp().fetch(request, bindings, createExecutionContext());
    const logged = JSON.stringify(lines.mock.calls);
    lines.mockRestore();
    expect(logged).toContain("r-1");
    for (const secret of ["secret wish", KEY, capability]) expect(logged).not.toContain(secret);
  });
});

describe("paths and methods", () => {
  it("answers 404 for what does not exist", async () => {
    for (const path of [
      "/v1/nothing",
      "/v1/predictions/",
      `/v1/files/${"0".repeat(32)}/0.png`,
      "/v1/files/x/y",
    ]) {
      expect((await call(path)).status).toBe(404);
    }
  });

  it.each([
    ["/v1/predictions/a/b", ["code"]],
    ["/v1/webhooks/other", ["code"]],
    ["/v1/streams/x", ["code"]],
    ["/v1/files/x", ["code"]],
    ["/nothing", ["code"]],
    ["/v1/images/edits", ["error"]],
    ["/v1/nothing", ["code", "error"]],
    ["/v1/models/a/b/c", ["code", "error"]],
  ])("reports the unknown path %s in the dialect of its clients", async (path, members) => {
    const answer = await (await call(path)).json<object>();
    expect(["code", "error"].filter((member) => member in answer)).toEqual(members);
  });

  it.each([
    ["not an id", "abc"],
    ["an unknown id", "0".repeat(26)],
    ["an id of a hub that does not exist", `zz${"0".repeat(24)}`],
  ])("answers 404 to %s", async (_, id) => {
    for (const path of [
      `/v1/predictions/${id}`,
      `/v1/predictions/${id}/events`,
      `/v1/streams/${id}/${"0".repeat(32)}`,
    ]) {
      const response = await call(path);
      expect(response.status).toBe(404);
      expect((await problemOf(response)).code).toBe("not_found");
    }
    expect((await call(`/v1/predictions/${id}/cancel`, { method: "POST" })).status).toBe(404);
  });

  it("answers 405 with the allowed methods", async () => {
    const response = await call("/v1/predictions", { method: "DELETE" });
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe("GET, HEAD, POST, OPTIONS");
    await response.body?.cancel();
    const images = await call("/v1/images/generations");
    expect(images.status).toBe(405);
    expect(await images.json()).toMatchObject({ error: { type: "invalid_request_error" } });
  });

  it("answers HEAD and OPTIONS, and lets any page call", async () => {
    const head = await call("/v1/models", { method: "HEAD" });
    expect(head.status).toBe(200);
    expect(await head.text()).toBe("");
    const options = await call("/v1/models", { method: "OPTIONS", key: null });
    expect([options.status, options.headers.get("allow")]).toEqual([204, "GET, HEAD, QUERY, OPTIONS"]);
    const preflight = await call("/v1/predictions", {
      method: "OPTIONS",
      key: null,
      headers: {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-a",
      },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
    expect(preflight.headers.get("access-control-allow-headers")).toBe("authorization,x-a");
  });

  it("lets only pages of CORS_ORIGINS call, and keeps their responses apart in caches", async () => {
    const bindings = { ...env, CORS_ORIGINS: "https://app.example, https://b.example:8443" };
    const allowed = async (origin: string | undefined, method = "GET"): Promise<Headers> => {
      const headers: Record<string, string> = { authorization: `Bearer ${KEY}` };
      if (origin !== undefined) headers["origin"] = origin;
      if (method === "OPTIONS") headers["access-control-request-method"] = "POST";
      const request = new Request(`${ORIGIN}/v1/predictions`, { method, headers });
      const response = await createApp().fetch(request, bindings, createExecutionContext());
      await response.body?.cancel();
      return response.headers;
    };
    for (const method of ["GET", "OPTIONS"]) {
      for (const origin of ["https://app.example", "https://b.example:8443"]) {
        const headers = await allowed(origin, method);
        expect(headers.get("access-control-allow-origin")).toBe(origin);
        expect(headers.get("vary")).toContain("origin");
      }
      for (const origin of ["https://evil.example", "https://app.example.evil.example", "null", undefined]) {
        const headers = await allowed(origin, method);
        expect(headers.get("access-control-allow-origin")).toBeNull();
        expect(headers.get("vary")).toContain("origin");
      }
    }
  });

  it("keeps a sane request id and replaces any other", async () => {
    const kept = await call("/v1/models", { headers: { "x-request-id": "abc-1" } });
    expect(kept.headers.get("x-request-id")).toBe("abc-1");
    await kept.body?.cancel();
    const replaced = await call("/v1/models", { headers: { "x-request-id": "a b{}" } });
    expect(replaced.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    expect(replaced.headers.get("x-content-type-options")).toBe("nosniff");
    await replaced.body?.cancel();
  });
});

describe("images endpoint", () => {
  it.each([
    ["no prompt", {}, "prompt", /required/],
    ["n beyond the limit", { prompt: "a", n: 11 }, "n", /at most 10/],
    ["n of 0", { prompt: "a", n: 0 }, "n", /from 1 to 10/],
    ["a size of other proportions", { prompt: "a", size: "1536x1024" }, "size", /largest .* is 1024x1024$/],
    ["too large a size", { prompt: "a", size: "1792x1024" }, "size", /at most 1536 .* largest is 1536x1536$/],
    ["no size", { prompt: "a", size: "big" }, "size", /auto/],
    ["four partial images", { prompt: "a", stream: true, partial_images: 4 }, "partial_images", /at most 3/],
    [
      "partial images without a stream",
      { prompt: "a", partial_images: 1 },
      "partial_images",
      /stream is true/,
    ],
    ["a stream of another type", { prompt: "a", stream: "yes" }, "stream", /boolean/],
    ["a compressed png", { prompt: "a", output_compression: 50 }, "output_compression", /lossless/],
    [
      "partial images of a single step",
      { prompt: "a", stream: true, partial_images: 1, num_inference_steps: 1 },
      "partial_images",
      /with a single step/,
    ],
    ["a compression of 101", { prompt: "a", output_compression: 101 }, "output_compression", /at most 100/],
    ["gif", { prompt: "a", output_format: "gif" }, "output_format", /png/],
    ["an unknown style", { prompt: "a", style: "art" }, "style", /"vivid" or "natural"/],
    ["frames that are a list", { prompt: "a", svg: [] }, "svg", /^svg must be omitted: images have pixels$/],
    ["transparency", { prompt: "a", background: "transparent" }, "background", /"opaque" or .* transparency/],
    ["no object", null, null, /^the body must be an object$/],
    [
      "an animation",
      { prompt: "a", frame_count: 2 },
      "frame_count",
      /must be 1 or omitted: images are not animated/,
    ],
    ["an unknown field", { prompt: "a", foo: 1 }, "foo", /not a known field/],
    ["an unknown quality", { prompt: "a", quality: "ultra" }, "quality", /"auto"/],
    [
      "a quality besides another preset",
      { prompt: "a", quality: "low", preset: "best" },
      "quality",
      /means the preset draft/,
    ],
    [
      "more steps than trained",
      { prompt: "a", num_inference_steps: 51 },
      "num_inference_steps",
      /at most 50/,
    ],
  ])("refuses %s in OpenAI's format", async (_, body, param, message) => {
    const response = await generate(body);
    expect(response.status).toBe(400);
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(response.headers.get("x-should-retry")).toBe("false");
    const { error } = await response.json<{
      error: { param: string | null; message: string; type: string };
    }>();
    expect(error).toMatchObject({ param, type: "invalid_request_error" });
    expect(error.message).toMatch(message);
  });

  it("uses OpenAI's codes for keys and models", async () => {
    const unknown = await generate({ prompt: "a", model: "gpt-image-1" });
    expect(unknown.status).toBe(404);
    expect(await unknown.json()).toMatchObject({
      error: {
        code: "model_not_found",
        param: "model",
        message: "the model gpt-image-1 does not exist; see GET /v1/models",
      },
    });
    const noKey = await call("/v1/images/generations", { json: { prompt: "a" }, key: null });
    expect(noKey.status).toBe(401);
    expect(await noKey.json()).toMatchObject({ error: { code: "invalid_api_key" } });
    const broken = await raw("{", {}, "/v1/images/generations");
    expect(broken.status).toBe(400);
    expect(await broken.json()).toMatchObject({ error: { code: "invalid_json" } });
  });
});

describe("models", () => {
  it("lists them for OpenAI's and Replicate's clients at once", async () => {
    const list = await (
      await call("/v1/models")
    ).json<Record<"data" | "results", { id: string; name: string }[]>>();
    expect(list).toMatchObject({ object: "list", next: null, previous: null });
    const entry = list.data.find(({ id }) => id === MODEL.name);
    expect(entry).toMatchObject({
      object: "model",
      owned_by: "vqd",
      owner: "vqd",
      name: "played",
      latest_version: {
        id: MODEL.version,
        openapi_schema: { components: { schemas: { Input: { type: "object" } } } },
      },
    });
    expect(list.results).toEqual(list.data);
  });

  it("returns one by either kind of path", async () => {
    for (const path of ["/v1/models/vqd/played", "/v1/models/vqd%2Fplayed"]) {
      expect(await (await call(path)).json()).toMatchObject({ id: MODEL.name });
    }
    const missing = await call("/v1/models/vqd/none");
    expect(missing.status).toBe(404);
    expect(await missing.json()).toMatchObject({ code: "not_found", error: { code: "model_not_found" } });
  });

  it("notices new models, and does not serve one with a different vocabulary", async () => {
    const announced = (change: object) => ({ ...MODEL, ...change });
    await worker.announce(announced({ ...PLAYED_MODELS.late, defaults: { guidanceScale: 1.5 } }));
    const tokenizer = { ...MODEL.tokenizer, mergesSha256: "0".repeat(64) };
    await worker.announce(announced({ ...PLAYED_MODELS.foreign, tokenizer }));
    await expect.poll(async () => (await call("/v1/models/vqd/late")).status, { interval: 200 }).toBe(200);
    expect((await call("/v1/models/vqd/foreign")).status).toBe(404);
    expect(await (await call("/v1/models/vqd/late")).json()).toMatchObject({
      defaults: { guidance_scale: 1.5 },
    });
    // What the model says is what a request takes that says nothing.
    const input = async (given: object): Promise<unknown> => {
      const json = { model: "vqd/late", input: { prompt: "a face", ...given } };
      const response = await call("/v1/predictions", { json });
      expect(response.status).toBe(201);
      const { id, input: taken } = await response.json<{ id: string; input: unknown }>();
      await call(`/v1/predictions/${id}/cancel`, { method: "POST" });
      return taken;
    };
    expect(await input({})).toMatchObject({ guidance_scale: 1.5 });
    expect(await input({ guidance_scale: 4 })).toMatchObject({ guidance_scale: 4 });
  });

  it("is healthy with NATS and a model, without a key", async () => {
    const response = await call("/healthz", { key: null });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ status: "ready", nats: "connected", hub: "ok" });
  });
});
