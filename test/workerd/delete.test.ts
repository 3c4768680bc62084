// Deleting predictions: what is left of one that has ended, of one that is being made, and of its images.

import { env } from "cloudflare:workers";
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, hubOf, ORIGIN, outputEvent, PlayedWorker, stepEvent } from "./support.ts";

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());

interface Prediction {
  id: string;
  status: string;
  output: string[] | null;
  urls: { stream: string };
}

async function create(input: object = {}, headers: Record<string, string> = {}): Promise<Prediction> {
  const json = { input: { prompt: "a", num_inference_steps: 2, ...input } };
  const response = await call("/v1/predictions", { json, headers });
  expect(response.status).toBe(201);
  return response.json<Prediction>();
}
const get = (id: string): Promise<Response> => call(`/v1/predictions/${id}`);
const read = async (id: string): Promise<Prediction> => (await get(id)).json<Prediction>();
const remove = (id: string, key = "test-key"): Promise<Response> =>
  call(`/v1/predictions/${id}`, { method: "DELETE", key });
const hub = () => hubOf("test");

/** What the hub and object storage still hold of a prediction. */
async function leftOf(id: string): Promise<Record<string, number>> {
  return runInDurableObject(hub(), (_, state) => {
    const count = (table: string, column: string): number =>
      Number(state.storage.sql.exec(`SELECT count(*) AS n FROM ${table} WHERE ${column} = ?`, id).one()["n"]);
    return {
      rows: count("predictions", "id"),
      events: count("events", "prediction_id"),
      deliveries: count("deliveries", "prediction_id"),
    };
  });
}

/** Capability in the URL of a file. */
const capabilityOf = (url: string | undefined): string => url?.split("/").at(-2) ?? "";
const filesOf = async (capability: string): Promise<number> =>
  (await env.FILES.list({ prefix: `${capability}/` })).objects.length;

/** Lets the time pass after which nothing can come any more. */
async function passTime(id: string): Promise<void> {
  await runInDurableObject(hub(), (_, state) => {
    state.storage.sql.exec("UPDATE predictions SET deleted_at = deleted_at - 120000 WHERE id = ?", id);
    return state.storage.setAlarm(Date.now() + 60_000);
  });
  await runDurableObjectAlarm(hub());
}

describe("a prediction that has ended", () => {
  it("is gone at once with its images and events, and later without a trace", async () => {
    const key = { "idempotency-key": crypto.randomUUID() };
    const { id } = await create({ num_outputs: 2, num_previews: 1 }, key);
    await worker.play(await worker.take({ id }));
    await expect.poll(async () => (await read(id)).status).toBe("succeeded");
    const { output, urls } = await read(id);
    const [url = ""] = output ?? [];
    const capability = capabilityOf(url);
    expect(await filesOf(capability)).toBe(2);

    const removed = await remove(id);
    expect([removed.status, await removed.text()]).toEqual([204, ""]);
    expect(await filesOf(capability)).toBe(0);
    for (const path of [
      `/v1/predictions/${id}`,
      `/v1/predictions/${id}/events`,
      `/v1/predictions/${id}/webhook-attempts`,
      urls.stream.replace(ORIGIN, ""),
      url.replace(ORIGIN, ""),
    ]) {
      expect([path, (await call(path)).status]).toEqual([path, 404]);
    }
    expect((await remove(id)).status).toBe(404);
    const { results } = await (await call("/v1/predictions")).json<{ results: Prediction[] }>();
    expect(results.map((each) => each.id)).not.toContain(id);
    // Its key is free again.
    const again = await create({ num_outputs: 2, num_previews: 1 }, key);
    expect(again.id).not.toBe(id);
    await remove(again.id);

    expect(await leftOf(id)).toEqual({ rows: 1, events: 0, deliveries: 0 });
    await passTime(id);
    expect(await leftOf(id)).toEqual({ rows: 0, events: 0, deliveries: 0 });
  });

  it("of somebody else, or with a key that may only read, is not deleted", async () => {
    const { id } = await create();
    expect((await remove(id, "other-key")).status).toBe(404);
    expect((await read(id)).status).toBe("starting");
    expect((await remove("0".repeat(26))).status).toBe(404);
    expect((await remove("no such thing")).status).toBe(404);
    expect((await remove(id)).status).toBe(204);
  });
});

describe("a prediction that is being made", () => {
  it("leaves the queue if it waits", async () => {
    const { id } = await create();
    expect((await remove(id)).status).toBe(204);
    const next = await create();
    // The first is not in the queue any more: the worker would be given it before.
    const request = await worker.take({ id: next.id });
    expect(request.id).toBe(next.id);
    await expect
      .poll(() =>
        runInDurableObject(hub(), (_, state) =>
          state.storage.sql.exec("SELECT release FROM predictions WHERE id = ?", id).one(),
        ),
      )
      .toEqual({ release: 0 });
    await remove(next.id);
  });

  it("stops its worker, ends its readers, sends no webhook, and keeps no image that comes late", async () => {
    const json = {
      input: { prompt: "a", num_inference_steps: 2 },
      webhook: "http://127.0.0.1:1024/hook",
      webhook_events_filter: ["completed"],
    };
    const { id } = await (await call("/v1/predictions", { json })).json<Prediction>();
    const job = await worker.take({ id });
    const stopped = worker.canceled(id);
    await worker.say(job, ...stepEvent(1, 2));
    await expect.poll(async () => (await read(id)).status).toBe("processing");
    const reader = await call(`/v1/predictions/${id}/events`);
    const capability = await runInDurableObject(hub(), (_, state) => {
      const query = "SELECT file_capability AS capability FROM predictions WHERE id = ?";
      return state.storage.sql.exec<{ capability: string }>(query, id).one().capability;
    });
    const waiting = call("/v1/predictions", { json: { input: json.input }, headers: { prefer: "wait=10" } });

    expect((await remove(id)).status).toBe(204);
    await stopped;
    // The reader is told nothing more.
    expect(await reader.text()).not.toContain("succeeded");
    expect(await leftOf(id)).toEqual({ rows: 1, events: 0, deliveries: 0 });
    // An image that was under way, as if it had passed the fence before.
    await env.FILES.put(`${capability}/0.png`, "late");
    await worker.say(job, ...outputEvent(0));
    await worker.say(job, { type: "succeeded", predictSeconds: 1 });
    await passTime(id);
    expect(await filesOf(capability)).toBe(0);
    expect(await leftOf(id)).toEqual({ rows: 0, events: 0, deliveries: 0 });

    // Nothing of this disturbs another.
    const [other] = (await (await call("/v1/predictions?limit=1")).json<{ results: Prediction[] }>()).results;
    await worker.play(await worker.take({ id: other?.id ?? "" }));
    expect((await (await waiting).json<Prediction>()).status).toBe("succeeded");
  });

  it("answers who waits for it that it does not exist", async () => {
    const headers = { "idempotency-key": crypto.randomUUID(), prefer: "wait=30" };
    const json = { input: { prompt: "a", num_inference_steps: 2, seed: 606 } };
    const waiting = call("/v1/predictions", { json, headers });
    const { id } = await worker.take({ seed: 606 });
    await expect.poll(async () => (await remove(id)).status).toBe(204);
    expect((await waiting).status).toBe(404);
  });
});
