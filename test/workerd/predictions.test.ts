// The predictions resource beyond one prediction: lists, requests sent twice, deadlines of the caller's own, the queue.

import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { cancelAfterMs } from "../../edge/http/cancel-after.ts";
import { call, fillQueue, hubOf, MODEL, ORIGIN, PlayedWorker, stepEvent } from "./support.ts";

interface Prediction {
  id: string;
  status: string;
  created_at: string;
  completed_at: string | null;
  output_expires_at: string | null;
  expires_at: string | null;
  error: string | null;
  queue: { position: number; eta_seconds: number | null } | null;
  input: { seed: number };
}

interface Page {
  previous: string | null;
  next: string | null;
  results: Prediction[];
}

let worker: PlayedWorker;
const made: string[] = [];

beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(async () => {
  await worker.close();
});
const post = (path: string): Promise<Response> => call(path, { method: "POST" });
afterEach(async () => {
  await Promise.all(made.splice(0).map((id) => post(`/v1/predictions/${id}/cancel`)));
});

async function create(headers: Record<string, string> = {}, input: object = {}): Promise<Response> {
  const json = { input: { prompt: "a", num_inference_steps: 2, ...input } };
  const response = await call("/v1/predictions", { json, headers });
  const { id } = await response.clone().json<{ id?: string }>();
  if (id !== undefined) made.push(id);
  return response;
}
const created = async (headers?: Record<string, string>, input?: object): Promise<Prediction> =>
  (await create(headers, input)).json<Prediction>();
const get = async (id: string): Promise<Prediction> =>
  (await call(`/v1/predictions/${id}`)).json<Prediction>();
const hub = () => hubOf("test");

describe("lists", () => {
  const page = async (url: string): Promise<Page> => {
    const response = await call(url.replace(ORIGIN, ""));
    expect(response.status).toBe(200);
    return response.json<Page>();
  };

  it("are paged in both directions, newest first, each prediction once", async () => {
    const since = new Date(Date.now() - 1).toISOString();
    const ids: string[] = [];
    for (let i = 0; i < 7; i++) ids.unshift((await created()).id);
    const created_after = encodeURIComponent(since);
    const first = await page(`/v1/predictions?limit=3&created_after=${created_after}`);
    expect(first.previous).toBeNull();
    expect(first.next).toMatch(/^https:\/\/vqd\.test\/v1\/predictions\?.*cursor=/);
    const second = await page(first.next ?? "");
    const third = await page(second.next ?? "");
    expect(third.next).toBeNull();
    const all = [first, second, third].flatMap(({ results }) => results.map(({ id }) => id));
    expect(new Set(all)).toEqual(new Set(ids));
    expect(all).toHaveLength(7);
    const times = [first, second, third].flatMap(({ results }) => results.map((each) => each.created_at));
    expect(times).toEqual(times.toSorted().toReversed());

    const back = await page(third.previous ?? "");
    expect(back.results).toEqual(second.results);
    const start = await page(back.previous ?? "");
    expect(start.results.map(({ id }) => id)).toEqual(first.results.map(({ id }) => id));
    expect(start.previous).toBeNull();
    expect(start.next).toBe(first.next);
  });

  it("contain only predictions of the key's owner", async () => {
    const { id } = await created();
    const others = await (await call("/v1/predictions", { key: "other-key" })).json<Page>();
    expect(others.results.map((each) => each.id)).not.toContain(id);
    const own = await page("/v1/predictions");
    expect(own.results[0]).toMatchObject({ id, queue: { position: 1 }, logs: "" });
  });

  it("are narrowed down by status, model and a part of an id", async () => {
    const ids = [(await created()).id, (await created()).id];
    const name = `Filtered-${crypto.randomUUID()}`;
    const own = await call(`/v1/predictions/${name}`, {
      method: "PUT",
      body: JSON.stringify({ input: { prompt: "a" } }),
      headers: { "content-type": "application/json" },
    });
    expect(own.status).toBe(201);
    made.push(name);
    const [canceled = "", live = ""] = ids;
    await post(`/v1/predictions/${canceled}/cancel`);
    const found = async (query: string): Promise<string[]> =>
      (await page(`/v1/predictions?${query}`)).results.map(({ id }) => id);
    const ours = (some: string[]): string[] => some.filter((id) => [...ids, name].includes(id));
    expect(ours(await found("status=canceled"))).toEqual([canceled]);
    expect(ours(await found("status=starting"))).toEqual([name, live]);
    expect(ours(await found(`model=${MODEL.name}&status=&id=`))).toEqual([name, live, canceled]);
    expect(await found("model=vqd/nobody-has-made-it")).toEqual([]);
    expect(await found(`id=${live.slice(3, 20).toUpperCase()}`)).toEqual([live]);
    expect(await found(`id=${live}&status=canceled`)).toEqual([]);
    expect(await found(`id=${name.slice(4).toLowerCase()}`)).toEqual([name]);
    // Links to the neighbours keep the filter.
    const first = await page(`/v1/predictions?status=starting&limit=1`);
    expect(first.results.map(({ id }) => id)).toEqual([name]);
    expect((await page(first.next ?? "")).results.map(({ id }) => id)).toEqual([live]);
  });

  it.each([
    ["status=done", "status"],
    ["model=fox", "model"],
    ["id=%25", "id"],
    [`id=${"a".repeat(101)}`, "id"],
    ["cursor=%21", "cursor"],
    ["cursor=bm9uc2Vuc2U", "cursor"],
    ["limit=0", "limit"],
    ["limit=101", "limit"],
    ["limit=x", "limit"],
    ["created_after=yesterday", "created_after"],
    ["created_before=2026-13-45", "created_before"],
  ])("refuse ?%s", async (query, path) => {
    const response = await call(`/v1/predictions?${query}`);
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ code: "invalid_input", errors: [{ path }] });
  });
});

describe("a request with an Idempotency-Key", () => {
  const key = (): Record<string, string> => ({ "idempotency-key": crypto.randomUUID() });

  it("creates one prediction, no matter how often or concurrently it is sent", async () => {
    const headers = key();
    const answers = await Promise.all(Array.from({ length: 5 }, () => create(headers)));
    const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b);
    expect(statuses).toEqual([200, 200, 200, 200, 201]);
    const ids = new Set<string>();
    for (const answer of answers) {
      expect(answer.headers.get("idempotent-replayed")).toBe(answer.status === 200 ? "true" : null);
      ids.add((await answer.json<Prediction>()).id);
    }
    expect(ids.size).toBe(1);
    const [id = ""] = ids;
    await post(`/v1/predictions/${id}/cancel`);
    expect(await created(headers)).toMatchObject({ id, status: "canceled" });
  });

  it("is refused with a different body, and independent of other callers", async () => {
    const headers = key();
    await create(headers);
    const reused = await create(headers, { seed: 5 });
    expect(reused.status).toBe(422);
    expect(await reused.json()).toMatchObject({
      code: "idempotency_key_reused",
      errors: [{ path: "Idempotency-Key" }],
    });
    const json = { input: { prompt: "a", seed: 5 } };
    const other = await call("/v1/predictions", { json, headers, key: "other-key" });
    expect(other.status).toBe(201);
    const { id } = await other.json<Prediction>();
    await call(`/v1/predictions/${id}/cancel`, { method: "POST", key: "other-key" });
  });

  it("can be sent again after it was refused", async () => {
    const headers = key();
    const empty = await fillQueue();
    expect((await create(headers)).status).toBe(503);
    await empty();
    await expect.poll(async () => (await create(headers)).status).toBe(201);
  });

  it("is refused if the key is malformed", async () => {
    const response = await create({ "idempotency-key": "a b" });
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ errors: [{ path: "Idempotency-Key" }] });
  });
});

describe("Cancel-After", () => {
  it.each([
    ["5", 5_000],
    ["30s", 30_000],
    ["2m", 120_000],
    ["1h30m5s", 5_405_000],
    ["24h", 86_400_000],
  ])("reads %s", (text, ms) => {
    expect(cancelAfterMs(text)).toBe(ms);
  });

  it.each(["0s", "25h", "-5s", "5d", "soon", "1.5s", "m"])("refuses %s", async (text) => {
    const response = await create({ "cancel-after": text });
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ errors: [{ path: "Cancel-After" }] });
  });

  /** As if the time were over. */
  async function expire(id: string): Promise<void> {
    await runInDurableObject(hub(), (_, state) => {
      state.storage.sql.exec("UPDATE predictions SET cancel_at = ? WHERE id = ?", Date.now(), id);
    });
    await runDurableObjectAlarm(hub());
  }

  it("aborts a prediction that has not started, and cancels one that has", async () => {
    const waiting = await created({ "cancel-after": "1h" });
    await expire(waiting.id);
    expect(await get(waiting.id)).toMatchObject({ status: "aborted", error: null, queue: null });
    const events = await (await call(`/v1/predictions/${waiting.id}/events`)).text();
    expect(events).toContain('event: done\ndata: {"status":"aborted","reason":"canceled"}');

    const running = await created({ "cancel-after": "1h" });
    // The aborted one is no longer in the queue.
    const job = await worker.take({ id: running.id });
    const stopped = worker.canceled(job.id);
    await worker.say(job, ...stepEvent(1, 2));
    await expect.poll(async () => (await get(running.id)).status).toBe("processing");
    await expire(running.id);
    expect((await get(running.id)).status).toBe("canceled");
    await stopped;
  });

  it("takes effect on time", async () => {
    const response = await create({ "cancel-after": "1s", prefer: "wait=10" });
    expect((await response.json<Prediction>()).status).toBe("aborted");
  });
});

/** Makes a prediction of two steps that has taken half a second. */
async function takeHalfASecond(): Promise<void> {
  const { id } = await created();
  await worker.play(await worker.take({ id }));
  await expect.poll(async () => (await get(id)).status).toBe("succeeded");
  await runInDurableObject(hub(), (_, state) => {
    state.storage.sql.exec("UPDATE predictions SET predict_seconds = 0.5 WHERE id = ?", id);
  });
}

describe("a prediction that waits", () => {
  it("knows its position and, from earlier ones, its estimated wait", async () => {
    await takeHalfASecond();

    const [running, next, last] = [await created(), await created({}, { num_outputs: 2 }), await created()];
    await worker.say(await worker.take({ id: running.id }), ...stepEvent(1, 2));
    await expect.poll(async () => (await get(running.id)).status).toBe("processing");
    expect((await get(running.id)).queue).toBeNull();
    // 0.5 s for two steps of an image; one step is left, then the next one has four.
    expect((await get(next.id)).queue).toEqual({ position: 1, eta_seconds: 1 });
    expect((await get(last.id)).queue).toEqual({ position: 2, eta_seconds: 2 });
    await post(`/v1/predictions/${next.id}/cancel`);
    expect((await get(last.id)).queue).toEqual({ position: 1, eta_seconds: 1 });
  });
});

describe("a queue", () => {
  const withPriority = async (priority: string): Promise<Prediction> => {
    const json = { priority, input: { prompt: "a", num_inference_steps: 2 } };
    const prediction = await (await call("/v1/predictions", { json })).json<Prediction>();
    made.push(prediction.id);
    return prediction;
  };

  it("serves higher priorities first", async () => {
    const [low, normal, high] = [await withPriority("low"), await created(), await withPriority("high")];
    const positions = await Promise.all(
      [high, normal, low].map(async ({ id }) => (await get(id)).queue?.position),
    );
    expect(positions).toEqual([1, 2, 3]);
  });

  it("refuses what would wait too long, and says when to retry", async () => {
    await takeHalfASecond();
    // Half a second for two steps, as the test before: 50 steps of ten images are 125 s.
    expect((await create({}, { num_outputs: 10, num_inference_steps: 50 })).status).toBe(201);
    const refused = await create();
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get("retry-after"))).toBeLessThanOrEqual(5);
    expect(await refused.json()).toMatchObject({
      code: "queue_full",
      detail: "the queue is too long: the prediction would start in about 125 s; the limit is 120 s",
    });
    // Nothing waits before an urgent one.
    await expect(withPriority("high")).resolves.toMatchObject({ status: "starting" });
  });
});

it("a prediction that has ended says when it expires", async () => {
  const { id, expires_at } = await created();
  expect(expires_at).toBeNull();
  await post(`/v1/predictions/${id}/cancel`);
  const ended = await get(id);
  const after = (ms: number): string =>
    new Date(Date.parse(ended.completed_at ?? "") + ms * 1_000).toISOString();
  expect(ended).toMatchObject({ output_expires_at: after(86_400), expires_at: after(604_800) });
});
