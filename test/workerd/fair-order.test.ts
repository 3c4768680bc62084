// Owners take turns by the work they ask for: what is dispatched when, what waits in the hub, and who is refused.

import { env } from "cloudflare:workers";
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { admitToQueue, admitWork, queuePlace } from "../../edge/hub/admission/queue-place.ts";
import { mayDispatch } from "../../edge/hub/admission/dispatch-window.ts";
import { endPrediction } from "../../edge/hub/events/ingest.ts";
import { newRow, STAGE } from "../../edge/hub/storage/prediction-row.ts";
import { startOf } from "../../edge/hub/storage/queue/queue-store.ts";
import type { PredictionStore } from "../../edge/hub/storage/store.ts";
import { unwrap } from "../../edge/prediction/hub-result.ts";
import type { Job } from "../../shared/job.ts";
import { hubs, newJob, newPrediction, PlayedWorker, script } from "./support.ts";
import { inStoreOf } from "./stored.ts";

/** Hubs of their own: one whose jobs a played worker takes, one whose store is only looked at. */
const [SHARD, STORE_SHARD] = [4, 3];
const AHEAD = Number(env.DISPATCH_AHEAD);
const hub = hubs.ofShard(SHARD);

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());

async function create(owner: string, steps: number, images = 1): Promise<Job> {
  const job = newJob(SHARD, steps, images);
  unwrap(await hub.create(newPrediction(job, owner)));
  return job;
}
const holds = (id: string): Promise<boolean> =>
  runInDurableObject(hub, (_, state) => {
    const query = "SELECT stage FROM predictions WHERE id = ?";
    return state.storage.sql.exec<{ stage: number }>(query, id).one().stage === STAGE.held;
  });
/** Number of ended predictions whose jobs have yet to leave the queue. */
const toRelease = (): Promise<number> =>
  runInDurableObject(
    hub,
    (_, { storage }) => storage.sql.exec("SELECT 1 FROM predictions WHERE release = 1").toArray().length,
  );
/** Takes the next `count` jobs of this test's hub, in the order in which the queue gives them, and plays each to its end. */
async function serve(count: number): Promise<string[]> {
  const served: string[] = [];
  while (served.length < count) {
    const job = await worker.next();
    if (job.shard !== SHARD) continue;
    served.push(job.id);
    await worker.play(job);
  }
  return served;
}

describe("a hub", () => {
  it("serves an owner with little to do before the rest of one with much", async () => {
    const greedy: Job[] = [];
    for (let i = 0; i < AHEAD + 3; i++) greedy.push(await create("greedy", 50, 10));
    const modest = await create("modest", 5);
    const [first] = greedy.slice(AHEAD).map(({ id }) => id);
    expect(await Promise.all(greedy.map(({ id }) => holds(id)))).toEqual(greedy.map((_, i) => i >= AHEAD));
    const place = async (id: string, owner: string): Promise<number | undefined> =>
      unwrap(await hub.get(id, owner)).queue?.position;
    expect(await place(modest.id, "modest")).toBe(AHEAD + 1);
    expect(await place(first ?? "", "greedy")).toBe(AHEAD + 2);
    const served = await serve(AHEAD + 4);
    expect(served.filter((id) => id !== modest.id)).toEqual(greedy.map(({ id }) => id));
    // Or before some of those that were dispatched already, if it has waited too long by then.
    expect(served.indexOf(modest.id)).toBeLessThanOrEqual(AHEAD);
  });

  it("says which jobs are of one owner, and not whose", async () => {
    const tags: string[] = [];
    for (const owner of ["one", "two", "one"]) {
      const { id } = await create(owner, 5);
      const job = await worker.take({ id });
      tags.push(worker.owner);
      await worker.play(job);
    }
    const [one, two, oneAgain] = tags;
    expect(one).toMatch(/^[0-9a-f]{16}$/);
    expect(two).toMatch(/^[0-9a-f]{16}$/);
    expect(oneAgain).toBe(one);
    expect(two).not.toBe(one);
  });

  it("says how much work there is, by priority, held or not, and what is left of it", async () => {
    const jobs: Job[] = [];
    for (let i = 0; i < AHEAD + 2; i++) jobs.push(await create("counted", 5, 2));
    const [first] = jobs;
    if (first === undefined) throw new Error("there is none");
    const values = async (metric: string): Promise<Record<string, number>> => {
      const samples = (await hub.metrics()).filter((one) => one.metric === metric && one.value > 0);
      return Object.fromEntries(
        samples.map(({ labels: { priority, state }, value }) => [`${priority} ${state}`, value]),
      );
    };
    expect(await values("vqd_hub_backlog_predictions")).toEqual({ "normal waiting": AHEAD + 2 });
    expect(await values("vqd_hub_backlog_image_steps")).toEqual({ "normal waiting": (AHEAD + 2) * 10 });
    const job = await worker.take(first);
    // Until after its second step.
    for (const [said, attachment] of [...script(5, 2)].slice(0, 3)) await worker.say(job, said, attachment);
    await expect
      .poll(() => values("vqd_hub_backlog_image_steps"))
      .toEqual({ "normal waiting": (AHEAD + 1) * 10, "normal running": 6 });
    for (const { id } of jobs) unwrap(await hub.cancel(id, "counted"));
    expect(await values("vqd_hub_backlog_predictions")).toEqual({});
    await expect.poll(toRelease).toBe(0);
  });

  it("dispatches at once while nothing waits", async () => {
    const { id } = await create("single", 5);
    expect(await holds(id)).toBe(false);
    expect(await serve(1)).toEqual([id]);
  });

  it("leaves no job in the queue of what is canceled while it is being dispatched", async () => {
    for (let round = 0; round < 5; round++) {
      const jobs = await Promise.all(Array.from({ length: 4 * AHEAD }, () => create("fickle", 5)));
      // Each that ends makes room for another, which ends while it is published.
      await Promise.all(jobs.map(async ({ id }) => unwrap(await hub.cancel(id, "fickle"))));
      await expect.poll(toRelease).toBe(0);
    }
    const { id } = await create("steady", 5);
    expect((await worker.next()).id).toBe(id);
    unwrap(await hub.cancel(id, "steady"));
  });

  it("never dispatches what is canceled while it waits, and keeps what waits when it dies", async () => {
    const jobs: Job[] = [];
    for (let i = 0; i < AHEAD + 3; i++) jobs.push(await create("waiting", 5));
    const ids = jobs.map(({ id }) => id);
    unwrap(await hub.cancel(ids[AHEAD] ?? "", "waiting"));
    await runInDurableObject(hub, (_, state) => state.abort("the test kills it")).catch(() => {});
    const left = ids.filter((_, i) => i !== AHEAD);
    // The alarm brings a hub back that has died.
    await runDurableObjectAlarm(hubs.ofShard(SHARD));
    expect(await serve(left.length)).toEqual(left);
  });
});

describe("the order of service", () => {
  const inStore = inStoreOf(STORE_SHARD);
  const of = { version: newJob(STORE_SHARD, 1).version, rank: 1 };
  /** Stores a waiting prediction, held unless it says otherwise, and gives its id. */
  function wait(
    store: PredictionStore,
    owner: string,
    steps: number,
    isHeld = true,
    version = of.version,
  ): string {
    const job = { ...newJob(STORE_SHARD, steps), version };
    const turn = store.queue.turnOf(owner, of, steps);
    store.atomically(() => {
      store.insert(newRow(job, newPrediction(job, owner), { turn, isHeld }));
      store.jobs.keep({ id: job.id, job: new Uint8Array(), requestId: "r", traceparent: undefined });
    });
    return job.id;
  }
  /** Dispatches and ends all that is held, and gives the order. */
  function drain(store: PredictionStore): string[] {
    const order: string[] = [];
    for (let next = store.queue.nextHeld(of); next !== undefined; next = store.queue.nextHeld(of)) {
      order.push(next.id);
      store.queue.dispatching(next.id);
    }
    for (const id of order) end(store, id);
    return order;
  }
  const start = (store: PredictionStore, id: string): void => {
    const now = Date.now();
    const row = store.get(id) ?? expect.fail("gone");
    store.update(id, { status: "processing", started_at: now, ...startOf(row, now) });
  };
  const end = (store: PredictionStore, id: string, status: "canceled" | "succeeded" = "canceled"): void =>
    store.atomically(() => endPrediction(store, id, { status, at: Date.now(), predictSeconds: 10 }));

  it("gives owners equal work, however it is divided into predictions", async () => {
    const owners = await inStore((store) => {
      const names = new Map<string, string>();
      for (let i = 0; i < 2; i++) names.set(wait(store, "large", 40), "large");
      for (let i = 0; i < 8; i++) names.set(wait(store, "small", 10), "small");
      return drain(store).map((id) => names.get(id));
    });
    for (const half of [owners.slice(0, 5), owners.slice(5)]) {
      expect(half.filter((owner) => owner === "large")).toHaveLength(1);
    }
  });

  it("does not let an owner save up turns, nor a canceled prediction cost any", async () => {
    const [order, busy] = await inStore((store) => {
      const waiting = Array.from({ length: 4 }, () => wait(store, "busy", 10));
      const [served = ""] = waiting;
      store.queue.dispatching(served);
      const late = Array.from({ length: 3 }, () => wait(store, "late", 10));
      const [canceled = ""] = late;
      end(store, canceled);
      const turns = [...waiting, ...late].map((id) => store.get(id)?.turn);
      expect(turns).toEqual([10, 20, 30, 40, 20, 20, 30]);
      const result = drain(store);
      end(store, served);
      return [result, waiting] as const;
    });
    const ofBusy = order.map((id) => busy.includes(id));
    expect(ofBusy.toSorted((a, b) => Number(a) - Number(b))).toEqual([false, false, true, true, true]);
    // In turns: of any three in a row, not all are of one owner.
    for (let i = 0; i + 2 < ofBusy.length; i++) expect(new Set(ofBusy.slice(i, i + 3)).size).toBe(2);
  });

  it("refuses the owner that has much waiting, and not a newcomer", async () => {
    await inStore((store) => {
      // The pace: 10 s for 10 image-steps.
      const done = wait(store, "earlier", 10, false);
      start(store, done);
      end(store, done, "succeeded");
      const running = wait(store, "greedy", 1_000, false);
      start(store, running);
      const waiting = Array.from({ length: 3 }, () => wait(store, "greedy", 50));
      const admit = (owner: string, steps: number): void => {
        const turn = store.queue.turnOf(owner, of, steps);
        admitToQueue(store, { ...of, turn, id: "new" }, steps, 60_000);
      };
      expect(() => admit("greedy", 5)).toThrow(expect.objectContaining({ code: "queue_full" }) as Error);
      admit("newcomer", 5);
      const id = wait(store, "newcomer", 5);
      const row = store.get(id);
      if (row === undefined) throw new Error("gone");
      expect(queuePlace(store, row)?.position).toBe(1);
      for (const one of [running, id, ...waiting]) end(store, one);
    });
  });

  it("estimates by what a worker has announced of its device while nothing has run", async () => {
    await inStore((store, sql) => {
      const version = "d".repeat(64);
      // 20 ms for each image-step at best, of two passes of 8 in turn.
      const slotTimes = [
        { images: 1, ms: 100 },
        { images: 8, ms: 160 },
        { images: 16, ms: null },
      ];
      const device = { slots: 16, slotTimes, batchInvariant: true };
      const ticket = { ...of, version, turn: 1e6, id: "new" };
      const admit = (): void => admitToQueue(store, ticket, 5, 60_000);
      const waiting = wait(store, "a", 4_000, true, version);
      admit();
      sql.exec(
        "INSERT INTO models (model_key, manifest) VALUES ('test', ?)",
        JSON.stringify({ version, device }),
      );
      expect(admit).toThrow("the prediction would start in about 80 s; the limit is 60 s");
      expect(mayDispatch(store.queue, { ...of, version }, AHEAD)).toBe(true);
      store.queue.dispatching(waiting);
      expect(mayDispatch(store.queue, { ...of, version }, AHEAD)).toBe(false);
      // Thirty-two at once are two such devices.
      const running = Array.from({ length: 32 }, () => {
        const id = wait(store, "b", 1, false, version);
        start(store, id);
        return id;
      });
      admit();
      for (const id of [waiting, ...running]) end(store, id);
      sql.exec("DELETE FROM models WHERE model_key = 'test'");
    });
  });

  it("leaves little work in the workers' queue, and always some", async () => {
    await inStore((store) => {
      const may = (): boolean => mayDispatch(store.queue, of, 2);
      expect(may()).toBe(true);
      const ids = [wait(store, "a", 1, false)];
      // At a second per image-step, one of a second leaves room for another, which is the last.
      expect(may()).toBe(true);
      ids.push(wait(store, "a", 1, false));
      expect(may()).toBe(false);
      for (const id of ids.splice(0)) end(store, id);
      ids.push(wait(store, "a", 100, false));
      expect(may()).toBe(false);
      for (const id of ids) end(store, id);
    });
  });
});

describe("the work of an owner", () => {
  it("is limited, but a single prediction is admitted whatever it takes", () => {
    admitWork({ count: 0, imageSteps: 0 }, 10_000, 1_000);
    admitWork({ count: 2, imageSteps: 900 }, 100, 1_000);
    expect(() => admitWork({ count: 2, imageSteps: 900 }, 101, 1_000)).toThrow(
      expect.objectContaining({ code: "too_many_live", retryable: true }) as Error,
    );
  });
});
