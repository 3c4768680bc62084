// What an owner may store, read and have sent again: limits in bytes, not only in requests.

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { OwnerRate } from "../../edge/hub/admission/owner-rate.ts";
import { admitToDatabase, admitToStorage } from "../../edge/hub/admission/storage-limits.ts";
import { newRow } from "../../edge/hub/storage/prediction-row.ts";
import type { PredictionStore } from "../../edge/hub/storage/store.ts";
import { unwrap } from "../../edge/prediction/hub-result.ts";
import type { ListQuery, PredictionPage } from "../../edge/prediction/records.ts";
import { hubs, IMAGE, newJob, newPrediction, outputEvent, stepEvent } from "./support.ts";
import { end, happen, inStoreOf } from "./stored.ts";

/** A hub of its own, without a worker. */
const SHARD = 5;
const STEPS = 4;
const hub = hubs.ofShard(SHARD);
const inStore = inStoreOf(SHARD);

/** Stores a prediction with a prompt of that many characters, and gives its id. */
function insert(store: PredictionStore, keyName: string, promptChars = 1, webhook?: string): string {
  const job = newJob(SHARD, STEPS);
  const inputJson = JSON.stringify({ prompt: "a".repeat(promptChars) });
  const wanted = webhook === undefined ? null : { url: webhook, events: ["completed"] as const };
  store.insert(newRow(job, { ...newPrediction(job, keyName), inputJson, webhook: wanted }));
  return job.id;
}

describe("what an owner stores", () => {
  it("is counted exactly, from the first record to the last", async () => {
    const used = await inStore((store) => {
      const of = (): { records: number; files: number } => store.bytesOf("storing");
      const states = [of()];
      const note = (): void => void states.push(of());
      const id = insert(store, "storing", 10_000);
      note();
      happen(store, id, stepEvent(1, STEPS));
      happen(store, id, outputEvent(0));
      note();
      end(store, id);
      note();
      store.expireSteps(Date.now());
      note();
      store.update(id, { files_expired: 1, file_bytes: 0 });
      store.expireRecords(Date.now());
      note();
      return states;
    });
    const [none, stored, running, ended, withoutSteps, gone] = used;
    expect(none).toEqual({ records: 0, files: 0 });
    expect(stored?.records).toBeGreaterThan(10_000);
    expect(running).toEqual({ records: stored?.records, files: IMAGE.length });
    expect(ended?.records).toBeGreaterThan(stored?.records ?? Infinity);
    expect(withoutSteps?.records).toBeLessThan(ended?.records ?? 0);
    expect(gone).toEqual({ records: 0, files: 0 });
  });

  it("is given back when it is deleted", async () => {
    const left = await inStore((store) => {
      const id = insert(store, "tidy", 10_000);
      happen(store, id, outputEvent(0));
      end(store, id);
      store.atomically(() => store.tombstones.bury(id, Date.now()));
      return store.bytesOf("tidy");
    });
    expect(left).toEqual({ records: 0, files: 0 });
  });

  it("is limited, with an error that says until when, and nobody else's", async () => {
    const limits = {
      recordLimitBytes: 100_000,
      fileLimitBytes: IMAGE.length,
      recordRetentionMs: 60_000,
      fileRetentionMs: 30_000,
    };
    await inStore((store) => {
      const id = insert(store, "hoarder", 90_000);
      end(store, id);
      const another = (bytes: number, keyName = "hoarder"): void =>
        admitToStorage(store, keyName, { records: bytes, files: 0 }, limits);
      another(1_000);
      expect(() => another(10_000)).toThrow(
        expect.objectContaining({ code: "storage_full", retryAfterSeconds: 60 }) as Error,
      );
      expect(() => another(10_000)).toThrow(
        "the records of the key's owner have reached the limit of 0.1 MB",
      );
      another(10_000, "modest");
      const drawn = insert(store, "painter");
      happen(store, drawn, outputEvent(0));
      end(store, drawn);
      expect(() => another(1, "painter")).toThrow(
        expect.objectContaining({ code: "storage_full", retryAfterSeconds: 30 }) as Error,
      );
    });
  });

  it("holds a prompt once, however many webhooks have been sent", async () => {
    const bodies = await inStore((store) => {
      const id = insert(store, "hooked", 5_000, "http://127.0.0.1:9/closed");
      end(store, id);
      return id;
    });
    unwrap(await hub.redeliverWebhook(bodies, "hooked"));
    await expect
      .poll(() => inStore((store) => store.webhooks.attempts(store.webhooks.of(bodies)[0]?.id ?? "").length))
      .toBeGreaterThan(0);
    const [delivery] = await inStore((store) => store.webhooks.of(bodies));
    expect(JSON.parse(delivery?.body ?? "")).toMatchObject({ id: bodies, input: null });
    await inStore((store) => store.webhooks.disable(bodies));
  });
});

describe("a hub", () => {
  it("takes no more before its database is full, and says when to come back", () => {
    admitToDatabase(8.9e9);
    expect(() => admitToDatabase(9e9)).toThrow(
      expect.objectContaining({ code: "queue_full", retryable: true, retryAfterSeconds: 60 }),
    );
  });

  const ask = (owner: string, steps = STEPS, images = 1) =>
    hub.create(newPrediction(newJob(SHARD, steps, images), owner));

  it("refuses the prediction of an owner that stores too much, and nobody else's", async () => {
    await inStore((store) => insert(store, "full", 1));
    await runInDurableObject(hub, (_, state) =>
      state.storage.sql.exec("UPDATE usage SET records = 1e9 WHERE key_name = 'full'"),
    );
    expect(await ask("full")).toMatchObject({ ok: false, error: { code: "storage_full" } });
    const { record } = unwrap(await ask("not full"));
    unwrap(await hub.cancel(record.id, "not full"));
  });

  it("counts a large prediction as several", async () => {
    const inputJson = JSON.stringify({ prompt: "a".repeat(160_000) });
    const limits = { perMinute: 30, live: 100 };
    const made: string[] = [];
    for (let count = 0; count < 30; count++) {
      const job = newJob(SHARD, STEPS);
      const result = await hub.create({ ...newPrediction(job, "wordy"), inputJson, limits });
      if (!result.ok) {
        expect(result.error).toMatchObject({ code: "rate_limited" });
        break;
      }
      made.push(job.id);
    }
    // Ten units each: the bucket is empty after three.
    expect(made).toHaveLength(3);
    for (const id of made) unwrap(await hub.cancel(id, "wordy"));
  });

  it("refuses what would make an owner's live work too much, and nobody else's", async () => {
    const live: string[] = [];
    let last = await ask("tireless", 50, 10);
    for (; last.ok && live.length < 100; last = await ask("tireless", 50, 10)) {
      live.push(unwrap(last).record.id);
    }
    expect(last).toMatchObject({ ok: false, error: { code: "too_many_live" } });
    expect(live).toHaveLength(Number(env.WORK_LIMIT) / 500);
    const { record } = unwrap(await ask("rested", 50, 10));
    unwrap(await hub.cancel(record.id, "rested"));
    for (const id of live) unwrap(await hub.cancel(id, "tireless"));
  });

  it("refuses an owner's reads when they were too many or too large, and nobody else's", async () => {
    const [id = ""] = await inStore((store) =>
      ["reader", "other reader"].map((owner) => insert(store, owner, 250_000)),
    );
    const query = { limit: 1, from: null, createdAfter: null, createdBefore: null };
    const most = Number(env.READ_LIMIT_PER_MINUTE) / 6 / 16;
    let count = 0;
    let last = await hub.list("reader", query);
    for (; last.ok && count < 2 * most; last = await hub.list("reader", query)) count++;
    const refused = { ok: false, error: { code: "rate_limited" } };
    expect(last).toMatchObject(refused);
    expect(count).toBeGreaterThan(most - 2);
    expect(await hub.get(id, "reader")).toMatchObject(refused);
    expect(await hub.webhookLog(id, "reader")).toMatchObject(refused);
    expect(await hub.list("other reader", query)).toMatchObject({ ok: true });
  });
});

describe("a list", () => {
  it("has pages that are bounded in bytes, and misses nothing", async () => {
    const ids = await inStore((store) => Array.from({ length: 7 }, () => insert(store, "writer", 100_000)));
    const found: PredictionPage[] = [];
    let from: PredictionPage["next"] = null;
    do {
      const query: ListQuery = { limit: 100, from, createdAfter: null, createdBefore: null };
      const page: PredictionPage = unwrap(await hub.list("writer", query));
      found.push(page);
      from = page.next;
    } while (from !== null);
    expect(found.map(({ records }) => records.length)).toEqual([2, 2, 2, 1]);
    const listed = found.flatMap(({ records }) => records.map(({ id }) => id));
    expect(new Set(listed)).toEqual(new Set(ids));
    expect(listed).toHaveLength(7);
  });

  it("shows an entry that is larger than a page", async () => {
    await inStore((store) => {
      for (let i = 0; i < 2; i++) insert(store, "novelist", 300_000);
    });
    const query = { limit: 100, from: null, createdAfter: null, createdBefore: null };
    const page = unwrap(await hub.list("novelist", query));
    expect(page.records).toHaveLength(1);
    expect(page.next).not.toBeNull();
  });
});

describe("the rate of an owner's requests", () => {
  it("counts large ones as several, refills, and says when", () => {
    const rate = new OwnerRate(60, "reads");
    const read = (bytes: number, now: number, owner = "a"): void => {
      rate.admit(owner, now);
      rate.count(owner, bytes, now);
    };
    for (let i = 0; i < 9; i++) read(0, 0);
    read(5 * 16 * 1024, 0);
    expect(() => read(0, 0)).toThrow(
      expect.objectContaining({ code: "rate_limited", retryAfterSeconds: 6 }) as Error,
    );
    read(0, 0, "b");
    read(0, 6_000);
    expect(() => read(0, 6_000)).toThrow("limited to 60 reads per minute");
  });

  it("bounds redeliveries, in number and in size", async () => {
    const ids = await inStore((store) =>
      [1, 100_000].map((chars) => {
        const id = insert(store, `sender-${chars}`, chars, "http://127.0.0.1:9/closed");
        end(store, id);
        return id;
      }),
    );
    const accepted: number[] = [];
    for (const [i, id] of ids.entries()) {
      const owner = i === 0 ? "sender-1" : "sender-100000";
      for (let count = 0; count < 100; count++) {
        const result = await hub.redeliverWebhook(id, owner);
        if (result.ok) continue;
        expect(result.error).toMatchObject({ code: "rate_limited" });
        accepted.push(count);
        break;
      }
    }
    const [small = 0, large = 0] = accepted;
    expect(small).toBeGreaterThanOrEqual(10);
    expect(small).toBeLessThanOrEqual(20);
    expect(large).toBeLessThanOrEqual(4);
    await inStore((store) => {
      for (const id of ids) store.webhooks.disable(id);
    });
  });
});
