// Archiving when object storage fails, answers late or not at all, and the hub dies in between: each record is found exactly once,
// until its owner deletes it, and then nowhere; and no object is forgotten.

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { expect, it } from "vitest";
import { OwnerRate } from "../../edge/hub/admission/owner-rate.ts";
import type { ArchiverOptions } from "../../edge/hub/archive/archiver.ts";
import { ArchiveReader } from "../../edge/hub/archive/reader.ts";
import { listPredictions } from "../../edge/hub/storage/list.ts";
import { PredictionStore } from "../../edge/hub/storage/store.ts";
import type { ListPlace, PredictionPage } from "../../edge/prediction/records.ts";
import { createLogger } from "../../shared/log.ts";
import { DAY, insertEnded, newArchiver, objectsOf, RETENTION, settle } from "./archived.ts";
import { hubs } from "./support.ts";

const SHARD = 10;
const HISTORIES = 25;
const OPERATIONS = 40;
const START = Date.UTC(2026, 0, 1);
const log = createLogger(() => {});

type Bucket = ArchiverOptions["bucket"];

/** Numbers that follow from a seed: a linear congruential generator with the constants of Numerical Recipes. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  uniform(): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0;
    return this.#state / 2 ** 32;
  }

  below(count: number): number {
    return Math.floor(this.uniform() * count);
  }
}

/** A bucket that fails now and then, before or after it has done what it was asked for. What it does late, it does when told. */
class FlakyBucket {
  readonly late: { since: number; work: () => Promise<unknown> }[] = [];
  readonly #random: Random;
  /** Called while an object is being written. */
  readonly #meanwhile: () => void;
  isWell = false;
  now = START;

  constructor(random: Random, meanwhile: () => void) {
    this.#random = random;
    this.#meanwhile = meanwhile;
  }

  get bucket(): Bucket {
    const { FILES } = env;
    return {
      get: (key: string) => this.#maybe(() => FILES.get(key)),
      put: ((key: string, bytes: Uint8Array) =>
        this.#maybe(() => {
          if (!this.isWell && this.#random.uniform() < 0.3) this.#meanwhile();
          return FILES.put(key, bytes);
        })) as Bucket["put"],
      delete: (keys) => this.#maybe(() => FILES.delete(keys)),
    };
  }

  /** What is late has happened within two minutes. */
  async advance(now: number): Promise<void> {
    this.now = now;
    while ((this.late[0]?.since ?? now) < now - 115_000) await this.late.shift()?.work();
  }

  async #maybe<T>(work: () => Promise<T>): Promise<T> {
    const chance = this.isWell ? 1 : this.#random.uniform();
    if (chance < 0.1) throw new Error("refused");
    if (chance < 0.2) this.late.push({ since: this.now, work });
    else if (chance < 0.3) await work();
    else return work();
    throw new Error("no answer");
  }
}

it.each(Array.from({ length: HISTORIES }, (_, i) => i))("history %i", async (seed) => {
  await runInDurableObject(hubs.ofShard(SHARD), async (_, { storage }) => {
    const random = new Random(seed);
    const pick = (n: number): number => random.below(n);
    const owner = `owner-${seed}`;
    const store = new PredictionStore(storage);
    const reader = new ArchiveReader({
      store,
      bucket: env.FILES,
      reads: new OwnerRate(1e9, "reads"),
      log,
    });
    /** Ids in the order in which they were made. */
    const made = new Map<string, number>();
    const gone = new Set<string>();
    let now = START;
    let newest = START;

    const deleteStored = (): void => {
      const [row] = [...store.oldestOf(owner)].toSorted(() => random.uniform() - 0.5);
      if (row === undefined) return;
      store.atomically(() => store.tombstones.bury(row.id, now));
      made.delete(row.id);
      gone.add(row.id);
    };
    const flaky = new FlakyBucket(random, deleteStored);
    const create = () => newArchiver(store, { bucket: flaky.bucket, log: log });
    let archiver = create();
    const acts: Record<string, () => Promise<void> | void> = {
      insert: () => {
        for (let i = 0; i <= pick(5); i++) {
          newest += pick(DAY / 3);
          now = Math.max(now, newest);
          made.set(insertEnded(store, owner, newest, {}, SHARD), newest);
        }
      },
      wait: () => void (now += pick(2 * DAY)),
      run: async () => {
        await flaky.advance((now += pick(90_000)));
        await archiver.run(now);
      },
      // The hub dies: what it was about to do is not done.
      die: () => void (archiver = create()),
      late: async () => void (await flaky.late.shift()?.work()),
      deleteStored,
      deleteArchived: async () => {
        const ids = [...made.keys()].filter((id) => store.archive.partOf(id) !== undefined);
        const id = ids[pick(ids.length)];
        if (id === undefined) return;
        expect(await reader.delete(id, owner, undefined, now)).toBe(true);
        made.delete(id);
        gone.add(id);
      },
    };
    const names = [
      "insert",
      "insert",
      "wait",
      "run",
      "run",
      "run",
      "run",
      "die",
      "late",
      ...Object.keys(acts),
    ];

    // Of its own, so that what happens is what would without it.
    let turns = seed;
    const turn = (n: number): number => (turns = (turns * 31 + 7) % 1_009) % n;
    /** What a filter looks for is found once in either direction, also where pages have nothing. */
    const checkFiltered = async (all: readonly string[]): Promise<void> => {
      const part = (all[turn(all.length)] ?? "0").slice(5, 6 + turn(2));
      const expected = all.filter((id) => id.includes(part));
      const only = { status: null, model: null, id: part };
      const look = async (from: ListPlace | null): Promise<PredictionPage> => {
        const query = { limit: 1 + turn(5), from, createdAfter: null, createdBefore: null, only };
        return (await listPredictions(store, reader, owner, query, 1 + turn(4))).page;
      };
      const idsOf = ({ records }: PredictionPage): string[] => records.map(({ id }) => id);
      let page = await look(null);
      const older = idsOf(page);
      while (page.next !== null) {
        page = await look(page.next);
        older.push(...idsOf(page));
      }
      expect(older).toEqual(expected);
      const newer = idsOf(page);
      while (page.previous !== null) {
        page = await look(page.previous);
        newer.unshift(...idsOf(page));
      }
      expect(newer).toEqual(expected);
    };

    const check = async (): Promise<void> => {
      const expected = [...made].toSorted(([a, x], [b, y]) => y - x || (a < b ? 1 : -1)).map(([id]) => id);
      const listed: string[] = [];
      for (let from: ListPlace | null = null; ;) {
        const query = { limit: 1 + pick(9), from, createdAfter: null, createdBefore: null };
        const { page } = await listPredictions(store, reader, owner, query);
        listed.push(...page.records.map(({ id }) => id));
        from = page.next;
        if (from === null) break;
      }
      expect(listed).toEqual(expected);
      await checkFiltered(expected);
      for (const id of [...expected.slice(0, 3), ...expected.slice(-3)]) {
        const places = [store.isKept(id), (await reader.get(id, owner))?.id === id];
        expect(places.filter(Boolean)).toHaveLength(1);
      }
      for (const id of gone)
        expect([store.isKept(id), await reader.get(id, owner)]).toEqual([false, undefined]);
    };

    for (let i = 0; i < OPERATIONS; i++) {
      await acts[names[pick(names.length)] ?? "run"]?.();
      if (i % 5 === 0) await check();
    }
    await check();

    // All is well again, and the last answers arrive before the time of a writing is over.
    while (flaky.late.length > 0) await flaky.late.shift()?.work();
    flaky.isWell = true;
    now += 9 * DAY;
    await settle(store, archiver, now);
    await check();
    expect([...store.oldestOf(owner)]).toEqual([]);
    const texts = [...(await objectsOf(owner)).values()];
    const archived = texts
      .flatMap((text) => text.trim().split("\n"))
      .map((line) => (JSON.parse(line) as { id: string }).id);
    expect(archived.toSorted()).toEqual([...made.keys()].toSorted());

    now += RETENTION.archiveRetentionMs;
    await settle(store, archiver, now);
    expect(await objectsOf(owner)).toEqual(new Map());
    const left = ["archived", "archive_parts", "archive_trash"].map(
      (table) => storage.sql.exec(`SELECT count(*) AS n FROM ${table}`).one()["n"],
    );
    expect(left).toEqual([0, 0, 0]);
  });
});

it("deletes what is of age while nothing can be written", async () => {
  await runInDurableObject(hubs.ofShard(SHARD), async (_, { storage }) => {
    const owner = "of-age";
    const store = new PredictionStore(storage);
    insertEnded(store, owner, START, {}, SHARD);
    await settle(store, newArchiver(store), START + 9 * DAY);
    expect((await objectsOf(owner)).size).toBe(1);
    const later = START + RETENTION.archiveRetentionMs;
    insertEnded(store, owner, later - 10 * DAY, {}, SHARD);
    const bucket: Bucket = {
      get: (key: string) => env.FILES.get(key),
      put: () => Promise.reject(new Error("full")),
      delete: (keys) => env.FILES.delete(keys),
    };
    await newArchiver(store, { bucket, log }).run(later + DAY);
    expect(await objectsOf(owner)).toEqual(new Map());
    expect([...store.oldestOf(owner)]).toHaveLength(1);
  });
});

it("reads for an owner one after another, however many are asked for at once, and refuses what is too much", async () => {
  await runInDurableObject(hubs.ofShard(SHARD), async (_, { storage }) => {
    const owner = "at-once";
    const store = new PredictionStore(storage);
    const inputJson = JSON.stringify({ prompt: "a".repeat(20_000) });
    const id = insertEnded(store, owner, START, { inputJson }, SHARD);
    await settle(store, newArchiver(store), START + 9 * DAY);
    let underWay = 0;
    let most = 0;
    const bucket: Pick<Bucket, "get"> = {
      get: async (key: string) => {
        most = Math.max(most, ++underWay);
        return env.FILES.get(key).finally(() => underWay--);
      },
    };
    // Ten at once, of which a read takes two.
    const reader = new ArchiveReader({ store, bucket, reads: new OwnerRate(60, "reads"), log });
    const reads = Array.from({ length: 20 }, () => reader.get(id, owner));
    const results = await Promise.allSettled(reads);
    expect(most).toBe(1);
    const found = results.filter((each) => each.status === "fulfilled");
    expect(found.map(({ value }) => value?.id)).toEqual(Array<string>(5).fill(id));
    expect(results.find((each) => each.status === "rejected")?.reason).toMatchObject({
      code: "rate_limited",
    });
  });
});
