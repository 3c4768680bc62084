// A hub interrupts a running job for another owner: it asks for it, and continues it later, exactly once.

import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { endOverdue } from "../../edge/hub/deadlines.ts";
import { endPrediction } from "../../edge/hub/events/ingest.ts";
import { newRow, STAGE, type Stage } from "../../edge/hub/storage/prediction-row.ts";
import { startOf } from "../../edge/hub/storage/queue/queue-store.ts";
import { unwrap } from "../../edge/prediction/hub-result.ts";
import type { PredictionRecord } from "../../edge/prediction/records.ts";
import { imageCount, type Job } from "../../shared/job.ts";
import { controlSubject } from "../../shared/subjects.ts";
import { hubs, MODEL_KEY, newJob, newPrediction, outputEvent, PlayedWorker, stepEvent } from "./support.ts";
import { inStoreOf } from "./stored.ts";

const [SHARD, STORE_SHARD] = [2, 3];
/** A stub stays broken once its hub has died. */
const hub = () => hubs.ofShard(SHARD);
const [STEPS, IMAGES] = [40, 10];

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());

async function create(owner: string, steps = STEPS, images = IMAGES): Promise<Job> {
  const job = newJob(SHARD, steps, images);
  unwrap(await hub().create(newPrediction(job, owner)));
  return job;
}
/** The next job of this test's hub in the queue. */
async function next(): Promise<Job> {
  for (;;) {
    const job = await worker.next();
    if (job.shard === SHARD) return job;
  }
}
const record = async (job: Job, owner: string): Promise<PredictionRecord> =>
  unwrap(await hub().get(job.id, owner));
const stageOf = (job: Job): Promise<Stage> =>
  runInDurableObject(hub(), (_, state) => {
    const query = "SELECT stage FROM predictions WHERE id = ?";
    return state.storage.sql.exec<{ stage: Stage }>(query, job.id).one().stage;
  });
/** What the worker that has the job is told next. */
const told = (job: Job): Promise<string> =>
  new Promise((resolve) => {
    worker.nc.subscribe(controlSubject(MODEL_KEY, job.id), {
      max: 1,
      callback: (_, message) => resolve(message.string()),
    });
  });

async function start(job: Job, attempt = 1, resumedFrom = 0, yields = true): Promise<void> {
  const total = job.numInferenceSteps;
  const started = { type: "started", worker: "played", numericsId: "played-1", resumedFrom, total } as const;
  await worker.say(job, { ...started, ...(yields ? { yields } : {}) }, undefined, attempt);
}
async function step(job: Job, from: number, to: number, attempt = 1): Promise<void> {
  for (let done = from; done <= to; done++) {
    const [said, tokens] = stepEvent(done, job.numInferenceSteps, imageCount(job));
    await worker.say(job, said, tokens, attempt);
  }
}
const giveBack = (job: Job, done: number, attempt = 1): Promise<void> =>
  worker.say(job, { type: "yielded", step: done, predictSeconds: 0.001 }, undefined, attempt);
async function finish(job: Job, from: number, attempt = 1): Promise<void> {
  await step(job, from, job.numInferenceSteps, attempt);
  for (let index = 0; index < imageCount(job); index++) {
    const [said, image] = outputEvent(index);
    await worker.say(job, said, image, attempt);
  }
  await worker.say(job, { type: "succeeded", predictSeconds: 0.002 }, undefined, attempt);
}
const ended = (job: Job, owner: string): Promise<void> =>
  expect.poll(async () => (await record(job, owner)).status).toBe("succeeded");

describe("a long job", () => {
  it("is handed back for another owner's, and continued afterwards", async () => {
    const long = await create("greedy");
    expect((await next()).id).toBe(long.id);
    const asked = told(long);
    await start(long);
    await step(long, 1, 3);
    const short = await create("modest", 5, 1);
    expect(await asked).toBe("yield 1");
    await giveBack(long, 3);
    await expect.poll(() => record(long, "greedy")).toMatchObject({ status: "processing", step: 3 });
    expect((await next()).id).toBe(short.id);
    await start(short);
    await finish(short, 1);
    await ended(short, "modest");
    const again = await next();
    expect(again).toMatchObject({ id: long.id, prompts: long.prompts, seed: long.seed });
    await start(long, 2, 3);
    await finish(long, 4, 2);
    await ended(long, "greedy");
    const whole = await record(long, "greedy");
    expect(whole).toMatchObject({ attempt: 2, step: STEPS });
    expect(whole.predictSeconds).toBeCloseTo(0.003);
    expect(whole.outputs).toHaveLength(IMAGES);
  });

  it("does not have its owner's next one in the queue served first", async () => {
    const [long, queued] = [await create("greedy"), await create("greedy")];
    expect((await next()).id).toBe(long.id);
    const asked = told(long);
    await start(long);
    await step(long, 1, 3);
    const short = await create("modest", 5, 1);
    expect(await asked).toBe("yield 1");
    await giveBack(long, 3);
    const order: string[] = [];
    for (const [attempt, from] of [
      [1, 0],
      [1, 0],
      [2, 3],
    ] as const) {
      const job = await next();
      order.push(job.id);
      await start(job, attempt, from);
      await finish(job, from + 1, attempt);
    }
    expect(order).toEqual([short.id, queued.id, long.id]);
    await Promise.all([ended(short, "modest"), ended(queued, "greedy"), ended(long, "greedy")]);
  });

  it("nearly done is left alone, and the other owner's is the next in the queue", async () => {
    const running = await create("greedy", 5, 1);
    const queued = [await create("greedy", 5, 1), await create("greedy", 5, 1)];
    expect((await next()).id).toBe(running.id);
    await start(running);
    const short = await create("modest", 5, 1);
    // The hub looks by itself once the job has waited too long: then those before it are held, in their order.
    await expect.poll(async () => Promise.all(queued.map(stageOf))).toEqual([STAGE.held, STAGE.held]);
    await finish(running, 1, 1);
    const order: string[] = [];
    for (let i = 0; i < 3; i++) {
      const job = await next();
      order.push(job.id);
      await start(job);
      await finish(job, 1, 1);
    }
    expect(order).toEqual([short.id, ...queued.map(({ id }) => id)]);
    await Promise.all([ended(short, "modest"), ...[running, ...queued].map((job) => ended(job, "greedy"))]);
  });

  it("is asked for again if it starts although it was recalled", async () => {
    const [long, queued] = [await create("greedy"), await create("greedy")];
    await next();
    const asked = told(long);
    await start(long);
    await step(long, 1, 3);
    // It is on its way to a worker when it is recalled.
    expect((await next()).id).toBe(queued.id);
    const short = await create("modest", 5, 1);
    expect(await asked).toBe("yield 1");
    expect(await stageOf(queued)).toBe(STAGE.held);
    const askedToo = told(queued);
    await start(queued);
    expect(await askedToo).toBe("yield 1");
    await giveBack(queued, 0);
    await giveBack(long, 3);
    expect((await next()).id).toBe(short.id);
    await start(short);
    await finish(short, 1);
    expect((await next()).id).toBe(queued.id);
    await start(queued, 2);
    await finish(queued, 1, 2);
    expect((await next()).id).toBe(long.id);
    await start(long, 2, 3);
    await finish(long, 4, 2);
    await Promise.all([ended(queued, "greedy"), ended(long, "greedy")]);
  });

  it("is continued by a hub that has died in between", async () => {
    const long = await create("greedy");
    await next();
    const asked = told(long);
    await start(long);
    await step(long, 1, 3);
    const short = await create("modest", 5, 1);
    expect(await asked).toBe("yield 1");
    expect((await next()).id).toBe(short.id);
    await giveBack(long, 3);
    await expect.poll(() => stageOf(long)).not.toBe(STAGE.running);
    await runInDurableObject(hub(), (_, state) => state.abort("the test kills it")).catch(() => {});
    await runDurableObjectAlarm(hub());
    expect((await next()).id).toBe(long.id);
    await start(long, 2, 3);
    await finish(long, 4, 2);
    await start(short);
    await finish(short, 1);
    await Promise.all([ended(long, "greedy"), ended(short, "modest")]);
  });

  it("of a worker that does not hand back is left alone, and so is one of the same owner", async () => {
    const [old, own] = [await create("greedy"), await create("modest")];
    for (const job of [old, own]) {
      expect((await next()).id).toBe(job.id);
      await start(job, 1, 0, job === own);
      await step(job, 1, 3);
    }
    const heard: string[] = [];
    for (const job of [old, own]) {
      worker.nc.subscribe(controlSubject(MODEL_KEY, job.id), { callback: () => void heard.push(job.id) });
    }
    const short = await create("modest", 5, 1);
    await next();
    await start(short);
    await finish(short, 1);
    await ended(short, "modest");
    for (const job of [old, own]) await finish(job, 4);
    await Promise.all([ended(old, "greedy"), ended(own, "modest")]);
    expect(heard).toEqual([]);
  });
});

describe("a prediction that waits to be continued", () => {
  it("has its limit extended by that time, and ends if nobody continues it", async () => {
    await inStoreOf(STORE_SHARD)((store) => {
      const job = newJob(STORE_SHARD, 100);
      store.atomically(() => {
        store.insert(newRow(job, newPrediction(job, "owner")));
        store.jobs.keep({ id: job.id, job: new Uint8Array(), requestId: "r", traceparent: undefined });
      });
      const { id } = job;
      const row = () => store.get(id) ?? expect.fail("gone");
      const limit = row().runTimeoutMs;
      store.update(id, startOf(row(), 1_000));
      store.update(id, { status: "processing", started_at: 1_000, attempt: 1 });
      store.queue.takeBack(row(), 1_000 + limit - 1);
      expect(row()).toMatchObject({ stage: STAGE.held, yieldedAt: 1_000 + limit - 1 });
      expect(endOverdue(store, 2_000 + limit)).toEqual([]);
      store.queue.dispatching(id);
      store.update(id, startOf(row(), 1_000 + limit + 4_999));
      expect(row()).toMatchObject({ stage: STAGE.running, yieldedAt: null, runTimeoutMs: limit + 5_000 });
      store.queue.takeBack(row(), 3_000 + limit);
      expect(endOverdue(store, 3_000 + limit + row().runTimeoutMs)).toEqual([id]);
      expect(row()).toMatchObject({ status: "failed", errorCode: "no_worker" });
      store.atomically(() => endPrediction(store, id, { status: "canceled", at: 0 }));
    });
  });
});
