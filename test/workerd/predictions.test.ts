// What callers may say of a prediction beside its input: once only, not for longer than; and the list of what they made.

import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { call, ORIGIN, PlayedWorker } from "./support.ts";

interface Prediction {
  id: string;
  status: string;
  created_at: string;
  deadline?: string;
  queue?: { position: number; eta_seconds: number | null };
  expires_at: string | null;
  output_expires_at: string | null;
}
interface List {
  next: string | null;
  previous: string | null;
  results: Prediction[];
}

/** Nothing that another test has made is in this key's list. */
const key = "other-key";
let worker: PlayedWorker;
const made: string[] = [];

beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(async () => {
  await worker.close();
});
afterEach(async () => {
  await Promise.all(
    made.splice(0).map((id) => call(`/v1/predictions/${id}/cancel`, { method: "POST", key })),
  );
});

const post = (input: object, headers: Record<string, string> = {}): Promise<Response> =>
  call("/v1/predictions", { json: { input: { prompt: "a cat", ...input } }, headers, key });

async function create(input: object = {}, headers: Record<string, string> = {}): Promise<Prediction> {
  const response = await post(input, headers);
  expect(response.status).toBe(201);
  const prediction = await response.json<Prediction>();
  made.push(prediction.id);
  return prediction;
}

const get = async (id: string): Promise<Prediction> =>
  (await call(`/v1/predictions/${id}`, { key })).json<Prediction>();

describe("Idempotency-Key", () => {
  const headers = { "idempotency-key": "order-17" };

  it("makes a prediction once, however often and at once it is asked for", async () => {
    const responses = await Promise.all([post({}, headers), post({}, headers), post({}, headers)]);
    const predictions = await Promise.all(responses.map((response) => response.json<Prediction>()));
    made.push(predictions[0]?.id ?? "");
    expect(new Set(predictions.map(({ id }) => id)).size).toBe(1);
    expect(responses.map(({ status }) => status).toSorted()).toEqual([200, 200, 201]);
  });

  it("cannot stand for two requests", async () => {
    const response = await post({ seed: 5 }, headers);
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({
      errors: [{ path: "idempotency-key", message: "has been used for another request" }],
    });
  });

  it("is the caller's own", async () => {
    const response = await call("/v1/predictions", { json: { input: { prompt: "a cat" } }, headers });
    expect(response.status).toBe(201);
    const { id } = await response.json<Prediction>();
    await call(`/v1/predictions/${id}/cancel`, { method: "POST" });
  });

  it.each(["", "a b", "x".repeat(256)])("refuses %j", async (value) => {
    const response = await post({}, { "idempotency-key": value });
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ errors: [{ path: "idempotency-key" }] });
  });
});

describe("Cancel-After", () => {
  it("is said in the answer", async () => {
    const { deadline, created_at } = await create({}, { "cancel-after": "2m" });
    expect(Date.parse(deadline ?? "") - Date.parse(created_at)).toBe(120_000);
  });

  it.each(["", "soon", "1s", "25h", "-5s", "5.5s", "99999999s"])("refuses %j", async (value) => {
    const response = await post({}, { "cancel-after": value });
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ errors: [{ path: "cancel-after" }] });
  });
});

describe("the place in the queue", () => {
  it("counts those ahead, and is gone after the start", async () => {
    const predictions = [await create(), await create(), await create()];
    const [first, second, third] = await Promise.all(predictions.map(({ id }) => get(id)));
    const base = first?.queue?.position ?? Number.NaN;
    expect([second?.queue?.position, third?.queue?.position]).toEqual([base + 1, base + 2]);
    const job = await worker.take({ id: predictions[0]?.id ?? "" });
    await worker.say(job, { type: "started", worker: "w", numericsId: "n", resumedFrom: 0, total: 50 });
    await expect.poll(async () => (await get(job.id)).status).toBe("processing");
    expect(await get(job.id)).not.toHaveProperty("queue");
    await expect.poll(async () => (await get(predictions[1]?.id ?? "")).queue?.position).toBe(0);
  });
});

describe("the list", () => {
  const list = async (query = ""): Promise<List> => {
    const response = await call(`/v1/predictions${query}`, { key });
    expect(response.status).toBe(200);
    return response.json<List>();
  };
  const follow = (url: string | null): Promise<List> =>
    list((url ?? "").slice(`${ORIGIN}/v1/predictions`.length));

  it("goes through all of a key's predictions, newest first, forth and back, also while more are made", async () => {
    const before = new Set((await list()).results.map(({ id }) => id));
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.unshift((await create()).id);
    const first = await list("?limit=2");
    expect(first.results.map(({ id }) => id)).toEqual(ids.slice(0, 2));
    expect(first.previous).toBeNull();
    await create();
    const second = await follow(first.next);
    expect(second.results.map(({ id }) => id)).toEqual(ids.slice(2, 4));
    const back = await follow(second.previous);
    expect(back.results.map(({ id }) => id)).toEqual(ids.slice(0, 2));
    // The one that was made meanwhile.
    expect(back.previous).not.toBeNull();
    let page = second;
    const rest: string[] = [];
    while (page.next !== null) {
      page = await follow(page.next);
      rest.push(...page.results.map(({ id }) => id));
    }
    expect(rest).toEqual([ids[4], ...rest.slice(1)]);
    expect(new Set(rest.slice(1))).toEqual(before);
  });

  it("has nothing of other keys", async () => {
    const { id } = await create();
    const response = await call("/v1/predictions");
    const { results } = await response.json<List>();
    expect(results.map((one) => one.id)).not.toContain(id);
  });

  it.each([
    ["?cursor=nonsense", "cursor"],
    [`?cursor=${btoa("o.1.x")}`, "cursor"],
    ["?limit=0", "limit"],
    ["?limit=1e9", "limit"],
    ["?page=2", "page"],
  ])("refuses %s", async (query, path) => {
    const response = await call(`/v1/predictions${query}`, { key });
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ errors: [{ path }] });
  });
});

it("says how long an ended prediction and its images are kept", async () => {
  const { id, expires_at: open } = await create();
  expect(open).toBeNull();
  const response = await call(`/v1/predictions/${id}/cancel`, { method: "POST", key });
  const ended = await response.json<Prediction & { completed_at: string }>();
  const hours = (to: string | null): number =>
    (Date.parse(to ?? "") - Date.parse(ended.completed_at)) / 3_600_000;
  expect([hours(ended.output_expires_at), hours(ended.expires_at)]).toEqual([24, 7 * 24]);
});
