// Records whose retention has ended: moved to object storage, read, listed and deleted there, and deleted by age.

import { runInDurableObject } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { countingRows } from "../../edge/hub/storage/database/counted.ts";
import { PredictionStore } from "../../edge/hub/storage/store.ts";
import { unwrap } from "../../edge/prediction/hub-result.ts";
import type { ListPlace } from "../../edge/prediction/records.ts";
import { DAY, insertEnded, newArchiver, objectsOf, RETENTION, settle } from "./archived.ts";
import { inStoreOf } from "./stored.ts";
import { call, hubs, PlayedWorker } from "./support.ts";

/** A hub of its own, without a worker. */
const SHARD = 9;
const hub = hubs.ofShard(SHARD);
const inStore = inStoreOf(SHARD);
/** Some days ago, at noon. */
const THEN = Math.floor(Date.now() / DAY - 5) * DAY + DAY / 2;
const QUERY = { limit: 100, from: null, createdAfter: null, createdBefore: null };
const NOBODY = { ok: false, error: { code: "not_found" } };
const insert = (store: PredictionStore, owner: string, at: number, own?: string): string =>
  insertEnded(
    store,
    owner,
    at,
    own === undefined ? {} : { idempotency: { key: `id ${own}`, requestHash: "h" } },
    SHARD,
  );

/** The ids of a list, page by page. */
async function walk(owner: string, limit: number, towards: "older" | "newer" = "older"): Promise<string[][]> {
  const pages: string[][] = [];
  const before: ListPlace = { towards: "newer", createdAt: 0, id: "" };
  for (let from: ListPlace | null = towards === "older" ? null : before; ;) {
    const page = unwrap(await hub.list(owner, { ...QUERY, limit, from }));
    pages.push(page.records.map(({ id }) => id));
    from = towards === "older" ? page.next : page.previous;
    if (from === null) return pages;
  }
}

describe("by the API", () => {
  let worker: PlayedWorker;
  beforeAll(async () => {
    worker = await PlayedWorker.start();
  });
  afterAll(() => worker.close());

  it("a prediction looks as before, without links to what is gone, and can be deleted by its owner alone", async () => {
    const id = "of-long-ago";
    const created = await call(`/v1/predictions/${id}`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ input: { prompt: "a", num_inference_steps: 3, num_previews: 1, seed: 5 } }),
    });
    expect(created.status).toBe(201);
    await worker.play(await worker.take({ seed: 5 }));
    const get = (key?: string): Promise<Response> =>
      call(`/v1/predictions/${id}`, key === undefined ? {} : { key });
    const read = async (): Promise<Record<string, unknown>> => (await get()).json();
    await expect.poll(async () => (await read())["status"]).toBe("succeeded");

    await inStoreOf(0)((store, sql) => {
      sql.exec(
        "UPDATE predictions SET created_at = ?1, started_at = ?1 + 5, completed_at = ?1 + 9, files_expired = 1, steps_expired = 1",
        THEN,
      );
      expect(store.oldestEnds().record).toBe(THEN + 9);
    });
    const before = await read();
    expect(before["logs"]).toContain("3/3");
    await runInDurableObject(hubs.ofShard(0), async (_, { storage }) => {
      const store = new PredictionStore(storage);
      await settle(store, newArchiver(store), Date.now());
      expect(storage.sql.exec("SELECT 1 FROM predictions").toArray()).toEqual([]);
    });
    const after = await read();
    const { events } = before["urls"] as { events: string };
    expect(after).toEqual({ ...before, urls: { ...(before["urls"] as object), stream: events } });
    expect(after["data_removed"]).toBe(true);
    const { results } = await (await call("/v1/predictions")).json<{ results: object[] }>();
    expect(results).toEqual([{ ...after, logs: "" }]);

    // It has ended: canceling changes nothing. What is gone is not found.
    const canceled = await call(`/v1/predictions/${id}/cancel`, { method: "POST" });
    expect([canceled.status, await canceled.json()]).toEqual([200, after]);
    for (const part of ["events", "receipt?index=0", "webhook-attempts"]) {
      expect((await call(`/v1/predictions/${id}/${part}`)).status).toBe(404);
    }
    const shared = await call(`/v1/predictions/${id}/share`, { method: "POST" });
    expect([shared.status, await shared.text()]).toEqual([404, expect.stringContaining("is archived")]);

    // Nobody else learns that it exists.
    expect((await get("other-key")).status).toBe(404);
    const remove = (key: string): Promise<Response> =>
      call(`/v1/predictions/${id}`, { method: "DELETE", key });
    expect((await remove("other-key")).status).toBe(404);
    const others = await call("/v1/predictions", { key: "other-key" });
    expect(await others.json()).toMatchObject({ results: [] });
    expect((await get()).status).toBe(200);
    expect((await remove("test-key")).status).toBe(204);
    expect((await get()).status).toBe(404);
    expect((await remove("test-key")).status).toBe(404);
    const list = await (await call("/v1/predictions")).json();
    expect(list).toMatchObject({ results: [], next: null });
  });
});

describe("an owner's records", () => {
  it("are archived by days that are over, or by hundreds", async () => {
    const owner = "steady";
    const counts = await runInDurableObject(hub, async (_, { storage }) => {
      const store = new PredictionStore(storage);
      const archiver = newArchiver(store);
      for (const day of [0, 1]) for (let i = 0; i < 3; i++) insert(store, owner, THEN + day * DAY + i);
      const rows = (): number =>
        Number(
          storage.sql.exec("SELECT count(*) AS n FROM predictions WHERE key_name = ?", owner).one()["n"],
        );
      const seen: number[] = [];
      const at = async (now: number): Promise<void> => {
        await settle(store, archiver, now);
        seen.push(rows());
      };
      // When the first one's retention ends, that of the others of its day has a moment to go; the next look is an hour later.
      await at(THEN + DAY + 2_000);
      // The first day is over, and another one has begun.
      await at(THEN + 1.5 * DAY + PASS);
      // Of the second day, more could follow until it is over.
      await at(THEN + 2.5 * DAY - PASS);
      await at(THEN + 2.5 * DAY + PASS);
      // Enough of them do not wait.
      for (let i = 0; i < 300; i++) insert(store, owner, THEN + 3 * DAY + i);
      await at(THEN + 4 * DAY + PASS + 10_000);
      return seen;
    });
    expect(counts).toEqual([6, 3, 3, 0, 44]);
    const objects = await objectsOf(owner);
    expect(
      [...objects.values()].map((text) => text.trim().split("\n").length).toSorted((a, b) => a - b),
    ).toEqual([3, 3, 256]);
    const days = [0, 1, 3].map((day) => new Date(THEN + day * DAY).toISOString().slice(0, 10));
    expect([...objects.keys()].map((name) => name.split("/")[0])).toEqual(
      days.map((day) => `archive-${owner}-${day}`),
    );
    const listed = (await walk(owner, 100)).flat();
    expect(new Set(listed).size).toBe(306);
    expect(listed).toHaveLength(306);
  });

  it("are listed with those in the database, in both directions, whatever the pages, in bounded steps", async () => {
    const owner = "lister";
    const ids = await runInDurableObject(hub, async (_, { storage }) => {
      const store = new PredictionStore(storage);
      const made: string[] = [];
      // Days of one record each, of several, and a day of today.
      for (let day = 0; day < 40; day++) {
        for (let i = 0; i <= day % 3; i++) made.push(insert(store, owner, THEN + (day - 60) * DAY + i));
      }
      await settle(store, newArchiver(store), Date.now());
      expect(store.bytesOf(owner).records).toBe(0);
      for (let i = 0; i < 5; i++) made.push(insert(store, owner, Date.now() - DAY + i));
      return made;
    });
    const newest = ids.toReversed();
    for (const limit of [1, 4, 100]) {
      const pages = await walk(owner, limit);
      expect(pages.flat()).toEqual(newest);
      expect(Math.max(...pages.map((page) => page.length))).toBeLessThanOrEqual(limit);
      const back = await walk(owner, limit, "newer");
      expect(back.flatMap((page) => page.toReversed())).toEqual(ids);
    }
    // 24 objects and the five of today.
    expect((await walk(owner, 100)).map((page) => page.length)).toEqual([5 + 48, 31]);
    const between = { createdAfter: THEN - 50 * DAY, createdBefore: THEN - 48 * DAY + 1 };
    const some = unwrap(await hub.list(owner, { ...QUERY, ...between }));
    const places: [day: number, ms: number][] = [
      [-48, 0],
      [-49, 2],
      [-49, 1],
      [-49, 0],
      [-50, 1],
    ];
    expect(some.records.map(({ createdAt }) => createdAt)).toEqual(
      places.map(([day, ms]) => THEN + day * DAY + ms),
    );
    expect(some.next).toBeNull();
  });

  it("count as reads, by the size of what is read for them", async () => {
    const owner = "greedy";
    const id = await runInDurableObject(hub, async (_, { storage }) => {
      const store = new PredictionStore(storage);
      const [first = ""] = Array.from({ length: 200 }, (_each, i) =>
        insertEnded(
          store,
          owner,
          THEN + i,
          { inputJson: JSON.stringify({ prompt: "a".repeat(1_000) }) },
          SHARD,
        ),
      );
      await settle(store, newArchiver(store), Date.now());
      return first;
    });
    let reads = 0;
    let answer = await hub.get(id, owner);
    for (; answer.ok && reads < 1_000; reads++) answer = await hub.get(id, owner);
    expect(answer).toMatchObject({ ok: false, error: { code: "rate_limited" } });
    // 12,000 in a minute, a sixth of them at once, each of them 16 KiB.
    expect(reads).toBeGreaterThan(50);
    expect(reads).toBeLessThan(200);
    expect(await hub.get(id, "somebody else")).toMatchObject(NOBODY);
  });

  it("leave their object within minutes once they are deleted, and the last one takes it along", async () => {
    const owner = "private";
    const by = { keyId: "fedcba987654", requestId: "r" };
    await runInDurableObject(hub, async (_, { storage }) => {
      const store = new PredictionStore(storage);
      for (let i = 0; i < 3; i++) insert(store, owner, THEN + i, `mine-${i}`);
      await settle(store, newArchiver(store), Date.now());
    });
    const id = unwrap(await hub.idOf("mine-1", owner));
    expect(unwrap(await hub.get(id, owner))).toMatchObject({ id, ownId: "mine-1" });
    expect(await hub.idOf("mine-1", "other")).toMatchObject(NOBODY);
    expect(await hub.delete(id, "other", by)).toMatchObject(NOBODY);
    unwrap(await hub.delete(id, owner, by));
    expect(await hub.get(id, owner)).toMatchObject(NOBODY);
    expect(await hub.idOf("mine-1", owner)).toMatchObject(NOBODY);
    expect(await hub.delete(id, owner, by)).toMatchObject(NOBODY);
    expect((await walk(owner, 10)).flat()).toHaveLength(2);
    const audit = unwrap(await hub.audit(owner, { before: null, limit: 10 }));
    expect(audit).toMatchObject([{ action: "prediction.deleted", object: id, keyId: by.keyId }]);

    const later = (ms: number): Promise<void> =>
      runInDurableObject(hub, async (_, { storage }) => {
        const store = new PredictionStore(storage);
        await settle(store, newArchiver(store), Date.now() + ms);
      });
    expect([...(await objectsOf(owner)).values()].join("")).toContain(id);
    await later(61_000);
    const [text = "", ...others] = (await objectsOf(owner)).values();
    expect(others).toEqual([]);
    expect(text).not.toContain(id);
    expect(text.trim().split("\n")).toHaveLength(2);
    for (const own of ["mine-0", "mine-2"]) {
      unwrap(await hub.delete(unwrap(await hub.idOf(own, owner)), owner, by));
    }
    await later(61_000);
    expect(await objectsOf(owner)).toEqual(new Map());
    expect(await inStore((store) => store.bytesOf(owner))).toEqual({ records: 0, files: 0 });
  });

  it("are deleted when their time is over, also if there is to be no archive any more", async () => {
    const owner = "aging";
    const [kept, left] = await runInDurableObject(hub, async (_, { storage }) => {
      const store = new PredictionStore(storage);
      const ids = [0, 1].map((day) => insert(store, owner, THEN + day * DAY, `aged-${day}`));
      await settle(store, newArchiver(store), Date.now());
      expect(store.bytesOf(owner).files).toBeGreaterThan(0);
      const archiver = newArchiver(store);
      await settle(store, archiver, THEN + RETENTION.archiveRetentionMs + 2_000);
      const after = ids.map((id) => store.archive.partOf(id) !== undefined);
      const off = { ...RETENTION, archiveRetentionMs: undefined };
      await settle(store, newArchiver(store, { retention: off }), Date.now());
      return [after, ids.map((id) => store.archive.partOf(id))];
    });
    expect(kept).toEqual([false, true]);
    expect(left).toEqual([undefined, undefined]);
    expect(await objectsOf(owner)).toEqual(new Map());
    expect(await hub.idOf("aged-1", owner)).toMatchObject(NOBODY);
  });

  it("cost two rows more, and a few for each object", async () => {
    const rows = await runInDurableObject(hub, async (_, { storage }) => {
      let written = 0;
      const counted = countingRows(storage, (n) => (written += n));
      const store = new PredictionStore(counted);
      const archive = async (owner: string): Promise<number> => {
        for (let i = 0; i < 256; i++) insert(store, owner, THEN + i);
        written = 0;
        await settle(store, newArchiver(store), Date.now());
        await settle(store, newArchiver(store), THEN + RETENTION.archiveRetentionMs + DAY);
        return written;
      };
      const archived = await archive("counted");
      for (let i = 0; i < 256; i++) insert(store, "counted-2", THEN + i);
      written = 0;
      store.expireRecords(THEN + DAY);
      return { archived, deleted: written };
    });
    const more = (rows.archived - rows.deleted) / 256;
    // docs/costs.md
    expect(more).toBeGreaterThanOrEqual(2);
    expect(more).toBeLessThan(3.5);
  });
});

const PASS = 3_600_000;
