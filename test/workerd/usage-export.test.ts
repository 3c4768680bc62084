// The export of what all owners have used: each line exactly once, in pages, whatever happens in between.

import { runInDurableObject } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { endPrediction } from "../../edge/hub/events/ingest.ts";
import { newRow } from "../../edge/hub/storage/prediction-row.ts";
import { PredictionStore } from "../../edge/hub/storage/store.ts";
import { storeKey } from "./stored-key.ts";
import { call, hubs, newJob, newPrediction, PlayedWorker } from "./support.ts";

/** A hub of its own, without a worker. */
const SHARD = 21;
const DAY_MS = 86_400_000;
const KEEP_MS = 31 * DAY_MS;
const ALL = { from: "2000-01-01", to: "2100-01-01" };

describe("the lines of a hub", () => {
  it("are read once each, are kept for a while, and have counted when they go", async () => {
    await runInDurableObject(hubs.ofShard(SHARD), (_, { storage }) => {
      let store = new PredictionStore(storage);
      const now = Date.now();
      const ended: string[] = [];
      /** So many more, of which one is deleted by its owner. */
      const endMore = (count: number, at: number): void => {
        for (let i = 0; i < count; i++) {
          const job = { ...newJob(SHARD, 4), createdAt: at - 1 };
          store.insert(newRow(job, newPrediction(job, `owner-${i % 2}`)));
          store.atomically(() => endPrediction(store, job.id, { status: "canceled", at }));
          if (i === 0) store.atomically(() => store.tombstones.bury(job.id, at));
          ended.push(job.id);
        }
        // As after its death.
        store = new PredictionStore(storage);
      };
      const read: string[] = [];
      let place = 0;
      const readOn = (limit: number): number => {
        const lines = store.usage.lines(place, limit);
        read.push(...lines.map(({ id }) => id));
        place = lines.at(-1)?.seq ?? place;
        return lines.length;
      };
      endMore(100, now - KEEP_MS - DAY_MS);
      expect(readOn(30)).toBe(30);
      endMore(30, now);
      while (readOn(30) > 0);
      expect(read).toEqual(ended);

      const days = () => ["owner-0", "owner-1"].map((owner) => store.usage.byDay(owner, ALL));
      const before = days();
      store.atomically(() => store.usage.expire(now, KEEP_MS));
      expect(days()).toEqual(before);
      expect(before.flat().reduce((sum, { predictions }) => sum + predictions, 0)).toBe(130);
      expect(store.usage.lines(0, 1_000).map(({ id }) => id)).toEqual(ended.slice(100));
      // Whoever has stopped among those that are gone is told, and not given the rest as if it were all.
      expect(() => store.usage.lines(30, 1_000)).toThrow(
        expect.objectContaining({
          code: "invalid_input",
          errors: [expect.objectContaining({ path: "cursor" })],
        }),
      );
      expect(() => store.usage.lines(place + 1, 1_000)).toThrow("not a place in the lines");

      // Even when all are old, no number is given twice.
      store.atomically(() => store.usage.expire(now + 2 * KEEP_MS, KEEP_MS));
      expect(store.usage.lines(0, 1_000)).toHaveLength(1);
      expect(readOn(30)).toBe(0);
      endMore(1, now);
      expect(readOn(30)).toBe(1);
      expect(read).toEqual(ended);
      expect(new Set(days().flatMap((list) => list.map(({ model }) => model))).size).toBe(1);
    });
  });
});

describe("GET /v1/usage/export", () => {
  let worker: PlayedWorker;
  beforeAll(async () => {
    worker = await PlayedWorker.start();
  });
  afterAll(() => worker.close());

  it("gives a biller every owner's lines, and nobody else; no prompts", async () => {
    const biller = await storeKey({ scopes: ["billing"] });
    const [ann, bob] = [await storeKey({ name: "ann" }), await storeKey({ name: "bob" })];
    const make = async (key: string): Promise<string> => {
      const json = { input: { prompt: "a secret garden", num_inference_steps: 3, num_outputs: 2 } };
      const { id } = await (await call("/v1/predictions", { json, key })).json<{ id: string }>();
      await worker.play(await worker.take({ id }));
      const status = async () =>
        (await (await call(`/v1/predictions/${id}`, { key })).json<{ status: string }>()).status;
      await expect.poll(status).toBe("succeeded");
      return id;
    };
    const read = async (path: string) => {
      const response = await call(path, { key: biller });
      expect(response.status).toBe(200);
      expect(response.headers.get("content-type")).toBe("application/x-ndjson");
      const text = await response.text();
      expect(text).not.toContain("garden");
      const [, next = ""] =
        /^<https:\/\/vqd\.test(.*)>; rel="next"$/.exec(response.headers.get("link") ?? "") ?? [];
      const lines = text.split("\n").slice(0, -1);
      return { next, lines: lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
    };
    const made = [await make(ann), await make(bob)];
    expect((await call(`/v1/predictions/${made[0]}`, { method: "DELETE", key: ann })).status).toBe(204);
    const first = await read("/v1/usage/export?limit=1");
    const second = await read(first.next);
    const third = await read(second.next);
    expect([...first.lines, ...second.lines].map(({ id }) => id)).toEqual(made);
    expect(third).toEqual({ next: second.next, lines: [] });
    made.push(await make(ann));
    const [line] = (await read(third.next)).lines;
    expect(line).toMatchObject({
      id: made[2],
      owner: "ann",
      key: expect.stringMatching(/^[0-9a-f]{12}$/) as string,
      model: "vqd/played",
      status: "succeeded",
      images: 2,
      steps: 6,
      gpu_seconds: 0.001,
    });

    const owner = await call("/v1/usage/export", {
      key: await storeKey({ scopes: ["read", "create", "admin"] }),
    });
    expect(owner.status).toBe(403);
    for (const [query, path] of [
      ["cursor=x", "cursor"],
      ["cursor=1.2.3.4.5.6.7.8.9", "cursor"],
      ["cursor=999999", "cursor"],
      ["limit=0", "limit"],
      ["limit=5001", "limit"],
    ]) {
      const refused = await call(`/v1/usage/export?${query}`, { key: biller });
      expect([query, refused.status]).toEqual([query, 422]);
      expect(await refused.json()).toMatchObject({ errors: [{ path }] });
    }
  });
});
