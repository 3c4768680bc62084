// Keys by their hashes: scopes, expiry, revocation, limits; and which pages may call.

import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { findKey } from "../../edge/auth/keys.ts";
import type { Env } from "../../edge/bindings.ts";
import { configOf } from "../../edge/config.ts";
import { RateLimiter } from "../../edge/hub/admission/rate-limiter.ts";
import { type ApiKey, storedKeyName } from "../../shared/api-key.ts";
import { hashOf, ownerOf, storeKey } from "./stored-key.ts";
import { call, PlayedWorker } from "./support.ts";

const made: [string, string][] = [];
async function create(key: string, priority?: string): Promise<Response> {
  const json = { input: { prompt: "a cat" }, ...(priority === undefined ? {} : { priority }) };
  const response = await call("/v1/predictions", { json, key });
  if (response.status === 201) made.push([(await response.clone().json<{ id: string }>()).id, key]);
  return response;
}

beforeAll(async () => {
  const worker = await PlayedWorker.start();
  await worker.close();
});
afterEach(async () => {
  await Promise.all(
    made.splice(0).map(([id, key]) => call(`/v1/predictions/${id}/cancel`, { method: "POST", key })),
  );
});

describe("a stored key", () => {
  it("gets at most the priority that it allows", async () => {
    const [normal, low, older] = [await storeKey(), await storeKey({ priority: "low" }), await storeKey()];
    await env.KEYS.put(
      storedKeyName(await hashOf(older)),
      JSON.stringify({
        name: ownerOf(older),
        scopes: ["create"],
        createdAt: 1,
        expiresAt: null,
        perMinute: null,
        live: null,
      }),
    );
    for (const [key, priority, status] of [
      [normal, "normal", 201],
      [normal, "low", 201],
      [normal, "high", 403],
      [low, undefined, 201],
      [low, "normal", 403],
      [older, "normal", 201],
      [older, "high", 403],
      [normal, "urgent", 422],
    ] as const) {
      const response = await create(key, priority);
      expect([priority, response.status]).toEqual([priority, status]);
      if (status === 403) {
        expect(await response.json()).toMatchObject({
          code: "forbidden",
          errors: [{ path: "priority", message: expect.stringContaining("or lower") as string }],
        });
      }
    }
  });

  it("creates and sees its owner's predictions, which other keys of the owner also see, and others do not", async () => {
    const key = await storeKey();
    const [same, other] = [await storeKey({ name: ownerOf(key) }), await storeKey()];
    const { id } = await (await create(key)).json<{ id: string }>();
    for (const [who, status] of [
      [key, 200],
      [same, 200],
      [other, 404],
    ] as const) {
      expect((await call(`/v1/predictions/${id}`, { key: who })).status).toBe(status);
      expect((await call(`/v1/predictions/${id}/webhook-attempts`, { key: who })).status).toBe(status);
    }
    expect((await call(`/v1/predictions/${id}/cancel`, { method: "POST", key: other })).status).toBe(404);
  });

  it("reads metrics only with the scope of that name", async () => {
    const key = await storeKey({ scopes: ["metrics"] });
    expect((await call("/metrics", { key })).status).toBe(200);
    expect((await call("/v1/models", { key })).status).toBe(403);
    const others = await storeKey({ scopes: ["create", "read", "admin"] });
    expect((await call("/metrics", { key: others })).status).toBe(403);
  });

  it.each<[ApiKey["scopes"], number, number, number]>([
    [["read"], 403, 200, 403],
    [["create"], 201, 403, 403],
    [["admin"], 403, 403, 200],
  ])(
    "with the scopes %j creates %d, reads %d, administers %d",
    async (scopes, creates, reads, administers) => {
      const key = await storeKey({ scopes });
      const created = await create(key);
      expect(created.status).toBe(creates);
      if (creates === 403) {
        expect(await created.json()).toMatchObject({
          code: "forbidden",
          detail: 'the API key lacks the scope "create"',
        });
      }
      expect((await call("/v1/predictions", { key })).status).toBe(reads);
      expect((await call("/v1/webhooks/default/secret", { key })).status).toBe(administers);
    },
  );

  it("shows nothing of a prediction to a key that may not read, when it cancels one", async () => {
    const full = await storeKey({ name: "reader" });
    const narrow = await storeKey({ name: "reader", scopes: ["create"] });
    const { id } = await (await create(full)).json<{ id: string }>();
    const cancel = async (key: string): Promise<Record<string, unknown>> =>
      (await call(`/v1/predictions/${id}/cancel`, { method: "POST", key })).json();
    for (const canceled of [await cancel(narrow), await cancel(narrow)]) {
      expect(canceled).toMatchObject({
        id,
        status: "canceled",
        input: {},
        output: null,
        logs: "",
        error: null,
      });
      expect(JSON.stringify(canceled)).not.toContain("/v1/streams/");
    }
    expect(await cancel(full)).toMatchObject({
      id,
      status: "canceled",
      input: { prompt: expect.any(String) },
    });
  });

  it("says whose it is, whatever its scopes, and to nobody without it", async () => {
    const key = await storeKey({ name: "carol", scopes: ["metrics"], perMinute: 7 });
    const account = await call("/v1/account", { key });
    expect(account.status).toBe(200);
    expect(await account.json()).toEqual({
      type: "user",
      username: "carol",
      name: "carol",
      key: {
        scopes: ["metrics"],
        priority: "normal",
        limits: { per_minute: 7, live: Number(env.LIVE_LIMIT) },
        expires_at: null,
      },
    });
    for (const wrong of [null, "wrong", await storeKey({ expiresAt: 1 })]) {
      expect((await call("/v1/account", { key: wrong })).status).toBe(401);
    }
  });

  it("is refused in OpenAI's format on OpenAI's endpoint", async () => {
    const key = await storeKey({ scopes: ["read"] });
    const response = await call("/v1/images/generations", { json: { prompt: "a cat" }, key });
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ error: { code: "insufficient_permissions" } });
  });

  it("is refused once it has expired, and when it is unknown", async () => {
    for (const key of [await storeKey({ expiresAt: Date.now() - 1 }), "never-stored", "x".repeat(600)]) {
      const response = await call("/v1/predictions", { key });
      expect(response.status).toBe(401);
      expect(response.headers.get("www-authenticate")).toMatch(/^Bearer/);
    }
  });
});

describe("the reads of KV, which are billed,", () => {
  /** The namespace, with a count of what is asked of it, and no keys in the settings. */
  function counted(): { env: Env; asked: { get: number; list: number } } {
    const asked = { get: 0, list: 0 };
    const { KEYS } = env;
    const namespace = {
      get: (...args: Parameters<typeof KEYS.get>) => (asked.get++, KEYS.get(...args)),
      list: (...args: Parameters<typeof KEYS.list>) => (asked.list++, KEYS.list(...args)),
    };
    return { env: { ...env, API_KEYS: "", KEYS: namespace as unknown as KVNamespace }, asked };
  }

  it("are not caused by a wrong key that is repeated, and lists are by none", async () => {
    const key = await storeKey();
    const { env: only, asked } = counted();
    const find = (one: string): Promise<ApiKey | null> => findKey(only, configOf(only), one);
    for (let i = 0; i < 50; i++) expect(await find("wrong")).toBeNull();
    for (let i = 0; i < 50; i++) expect(await find("")).toBeNull();
    expect(asked).toEqual({ get: 1, list: 1 });
    for (let i = 0; i < 50; i++) expect(await find(`wrong ${i}`)).toBeNull();
    expect(asked).toEqual({ get: 51, list: 1 });
    // A valid one is found all the same.
    expect(await find(key)).toMatchObject({ name: ownerOf(key) });
  });
});

// Tests that depend on the hub's own clock use limits so low that nothing refills before the test would time out.
describe("limits", () => {
  it("refuse too many predictions per minute, and say when to retry", async () => {
    const key = await storeKey({ perMinute: 2 });
    const first = await create(key);
    expect(first.headers.get("ratelimit-policy")).toBe('"predictions";q=2;w=60');
    expect(first.headers.get("ratelimit")).toMatch(/^"predictions";r=1;t=\d+$/);
    expect(first.headers.get("x-ratelimit-remaining-requests")).toBe("1");
    const exposed = first.headers.get("access-control-expose-headers")?.split(", ");
    const told = [...first.headers.keys()].filter((name) => name.includes("ratelimit"));
    expect(told).toHaveLength(5);
    expect(exposed).toEqual(expect.arrayContaining(told));
    expect((await create(key)).status).toBe(201);
    const refused = await create(key);
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(refused.headers.get("ratelimit-policy")).toBe('"predictions";q=2;w=60');
    expect(refused.headers.get("ratelimit")).toMatch(/^"predictions";r=0;t=\d+$/);
    expect(refused.headers.get("x-ratelimit-limit-requests")).toBe("2");
    expect(await refused.json()).toMatchObject({ code: "rate_limited" });
    const images = await call("/v1/images/generations", { json: { prompt: "a cat" }, key });
    expect(images.status).toBe(429);
    expect(images.headers.get("x-should-retry")).toBe("true");
    expect(images.headers.get("x-ratelimit-remaining-requests")).toBe("0");
    expect(await images.json()).toMatchObject({ error: { type: "requests", code: "rate_limit_exceeded" } });
    // Reading does not count.
    expect((await call("/v1/predictions", { key })).status).toBe(200);
  });

  it("refuse again before the body is read, but find what was created before", async () => {
    const key = await storeKey({ perMinute: 1 });
    const ask = (): Promise<Response> =>
      call("/v1/predictions", {
        json: { input: { prompt: "a cat" } },
        key,
        headers: { "idempotency-key": "again" },
      });
    const created = await ask();
    expect(created.status).toBe(201);
    expect((await create(key)).status).toBe(429);
    const headers = { "content-type": "application/json" };
    const unread = await call("/v1/predictions", { method: "POST", body: "{", key, headers });
    expect(unread.status).toBe(429);
    expect(await unread.json()).toMatchObject({ code: "rate_limited" });
    const { id } = await created.json<{ id: string }>();
    made.push([id, key]);
    const replayed = await ask();
    expect(replayed.status).toBe(200);
    expect(await replayed.json()).toMatchObject({ id });
  });

  it("refuse too many live predictions, until one ends", async () => {
    const key = await storeKey({ live: 1, perMinute: 3 });
    const { id } = await (await create(key)).json<{ id: string }>();
    const refused = await create(key);
    expect(refused.status).toBe(429);
    expect(refused.headers.get("x-ratelimit-remaining-requests")).toBe("2");
    expect(await refused.json()).toMatchObject({ code: "too_many_live" });
    await call(`/v1/predictions/${id}/cancel`, { method: "POST", key });
    expect((await create(key)).status).toBe(201);
  });

  const limiter = new RateLimiter();

  it("refill evenly", () => {
    const limits = { perMinute: 60, live: 5 };
    const at = (now: number): number => limiter.admit("a", 0, limits, now).remaining;
    for (let i = 0; i < 60; i++) expect(at(0)).toBe(59 - i);
    expect(() => at(999)).toThrow(/60 predictions per minute/);
    expect(at(1_000)).toBe(0);
    expect(at(60_000)).toBe(58);
    expect(limiter.admit("b", 0, limits, 60_000).remaining).toBe(59);
  });

  it("count one per 16 KiB of input", () => {
    const limits = { perMinute: 60, live: 5 };
    const large = (now: number): number => limiter.admit("large", 0, limits, now, 32 * 1024).remaining;
    for (let i = 1; i <= 20; i++) expect(large(0)).toBe(60 - 3 * i);
    expect(() => large(0)).toThrow(/60 predictions per minute/);
  });

  it("of an owner's keys are independent of each other", async () => {
    const left = (perMinute: number): number =>
      limiter.admit("owner-of-two", 0, { perMinute, live: 5 }, 0).remaining;
    expect([left(600), left(2), left(600), left(2)]).toEqual([599, 1, 598, 0]);
    expect(() => left(2)).toThrow(/2 predictions per minute/);
    expect(left(600)).toBe(597);

    const name = "owner-of-two";
    const [wide, narrow] = [await storeKey({ name }), await storeKey({ name, perMinute: 1 })];
    expect((await create(narrow)).status).toBe(201);
    expect((await create(narrow)).status).toBe(429);
    expect((await create(wide)).status).toBe(201);
  });
});
