// Steps in few messages and rows: what readers get of them, images that are stored side by side, and data of releases before.

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { afterAll, beforeAll, expect, it } from "vitest";
import { configOf } from "../../edge/config.ts";
import { EventApplier } from "../../edge/hub/events/apply.ts";
import type { Hub } from "../../edge/hub/hub.ts";
import { HubMetrics } from "../../edge/hub/metrics.ts";
import { StreamCursor } from "../../edge/hub/nats/cursor.ts";
import { MIGRATIONS, migrate } from "../../edge/hub/storage/database/schema.ts";
import { ParkedEvents } from "../../edge/hub/storage/parked-events.ts";
import { PredictionStore } from "../../edge/hub/storage/store.ts";
import type { StoredEvent } from "../../edge/prediction/records.ts";
import { unwrap } from "../../edge/prediction/hub-result.ts";
import { tracingOf } from "../../edge/telemetry/tracing.ts";
import type { Framed } from "../../shared/codec.ts";
import type { JobState, PredictionEvent } from "../../shared/events.ts";
import type { Job } from "../../shared/job.ts";
import { createLogger } from "../../shared/log.ts";
import { encodeBatch } from "../../shared/steps/batch.ts";
import { eventSubject } from "../../shared/subjects.ts";
import {
  eventBytes,
  hubs,
  MODEL_KEY,
  newJob,
  newPrediction,
  PlayedWorker,
  type Said,
  script,
} from "./support.ts";

/** A hub of its own, since its stream is written by hand here. */
const SHARD = 12;
const STEPS = 20;
const EVERYTHING = 1_000;

let worker: PlayedWorker;
let sequence = 5_000_000;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());

const hub = () => hubs.ofShard(SHARD);
async function create(): Promise<Job> {
  const job = newJob(SHARD, STEPS);
  unwrap(await hub().create(newPrediction(job, "owner")));
  // Out of the queue, which holds few.
  await worker.take({ id: job.id });
  return job;
}

function batchOf(said: readonly [Said, Uint8Array?][], step: number): Uint8Array {
  const events: Framed<PredictionEvent>[] = said.map(([body, attachment = new Uint8Array()], at) => ({
    value: { v: 1, attempt: 1, at: Date.now() + at, ...body } as PredictionEvent,
    attachment: Uint8Array.from(attachment),
  }));
  const state: JobState = {
    v: 1,
    attempt: 1,
    numericsId: "played-1",
    step,
    images: 1,
    starts: 0,
    claims: 1,
    owner: "w",
  };
  return encodeBatch({ n: 0, state, tokens: new Uint8Array(step === 0 ? 0 : 8).fill(step), events });
}
const message = ({ id }: Job, data: Uint8Array) => ({
  subject: eventSubject(SHARD, MODEL_KEY, id),
  sequence: ++sequence,
  data,
});
const apply = (job: Job, data: Uint8Array): Promise<void> =>
  runInDurableObject(hub(), (instance: Hub) => instance.apply(message(job, data)));

async function seen({ id }: Job): Promise<StoredEvent[]> {
  const url = `https://hub/events?id=${id}&after=0&origin=https://vqd.test&keyName=owner`;
  const text = await (await hub().fetch(url)).text();
  return [...text.matchAll(/^id: (\d+)\nevent: (\w+)\n((?:data: .*\n)+)/gm)].map(
    ([, seq = "", type = "", data = ""]) => ({ seq: Number(seq), type, data }),
  );
}
/** Without what depends on the time, and on the prediction's id. */
const same = (events: readonly StoredEvent[]): unknown[] =>
  events.map(({ seq, type, data }) => [
    seq,
    type,
    data.replaceAll(/\[\d.*/g, "").replaceAll(/https:[^"]*/g, "url"),
  ]);

it("gives readers the same of batches as of single events, also when they come twice, and writes few rows", async () => {
  const all = [...script(STEPS, 1)];
  const [single, batched] = [await create(), await create()];
  for (const [said, attachment] of all) await apply(single, eventBytes(said, 1, attachment));
  const parts = [all.slice(0, 1), all.slice(1, 2), all.slice(2, 13), all.slice(13, 21), all.slice(21)];
  for (const [at, part] of parts.entries()) {
    const step = [0, 1, 12, STEPS, STEPS][at] ?? 0;
    const data = batchOf(part, step);
    // As after a hub's death, which had written less than had taken effect.
    for (let times = 0; times < 2; times++) await apply(batched, data);
    const { step: recorded, logs } = unwrap(await hub().get(batched.id, "owner"));
    expect(recorded).toBe(step);
    expect(logs.split("\n").length - 1).toBe(step);
  }
  const events = await seen(batched);
  expect(same(events)).toEqual(same(await seen(single)));
  expect(events.filter(({ type }) => type === "step")).toHaveLength(STEPS);
  expect(events.at(-1)?.type).toBe("done");
  const types = await runInDurableObject(hub(), (_, { storage }) =>
    storage.sql
      .exec<{ type: string }>("SELECT type FROM events WHERE prediction_id = ? ORDER BY seq", batched.id)
      .toArray()
      .map(({ type }) => type),
  );
  expect(types).toEqual(["started", "steps", "output", "done"]);
  const [one, other] = [
    unwrap(await hub().get(single.id, "owner")),
    unwrap(await hub().get(batched.id, "owner")),
  ];
  expect(other.logs.replaceAll(/\[.*/g, "")).toBe(one.logs.replaceAll(/\[.*/g, ""));
  for (const step of [1, 12, STEPS]) {
    expect(unwrap(await hub().stateOf(batched.id, "owner", step)).tokens).toEqual(
      new Uint8Array(8).fill(step),
    );
  }
});

it("fails the prediction of a batch that contradicts it, with what came before", async () => {
  const job = await create();
  const all = [...script(STEPS + 1, 1)];
  await apply(job, batchOf(all.slice(0, 3), 2));
  expect(unwrap(await hub().get(job.id, "owner"))).toMatchObject({ status: "failed", errorCode: "internal" });
});

it("stores images of several predictions at once, and what follows each waits for its own", async () => {
  const jobs = [await create(), await create(), await create()];
  const bystander = await create();
  await runInDurableObject(hub(), async (_, { storage }) => {
    const store = new PredictionStore(storage);
    const puts: { key: string; release: () => void }[] = [];
    const files = new Proxy(env.FILES, {
      get: (target, property) =>
        property === "put"
          ? async (key: string, ...rest: [Uint8Array, R2PutOptions]) => {
              await new Promise<void>((release) => puts.push({ key, release }));
              return target.put(key, ...rest);
            }
          : (Reflect.get(target, property) as unknown),
    });
    const applier = new EventApplier({
      shard: SHARD,
      store,
      cursor: new StreamCursor(store),
      parked: new ParkedEvents(storage),
      models: { get: () => undefined },
      files,
      tracing: tracingOf(configOf(env)),
      metrics: new HubMetrics(),
      log: createLogger(() => {}),
      onApplied: () => {},
      onHeard: () => {},
      onChanged: () => {},
      onStarted: () => {},
      onEnded: () => {},
      onOrphan: () => {},
    });
    const all = [...script(STEPS, 1)];
    const applied = jobs.flatMap((job) => [
      applier.apply(message(job, batchOf(all.slice(0, 22), STEPS))),
      applier.apply(message(job, batchOf(all.slice(22), STEPS))),
    ]);
    // Nobody waits for them but what follows them.
    await applier.apply(message(bystander, eventBytes({ type: "canceled" }, 1)));
    expect(store.get(bystander.id)?.status).toBe("canceled");
    await expect.poll(() => puts.length).toBe(jobs.length);
    for (const { id } of jobs) expect(store.get(id)).toMatchObject({ status: "processing", outputs: [] });
    const [first, ...others] = puts;
    first?.release();
    await Promise.all(applied.slice(0, 2));
    expect(jobs.map(({ id }) => store.get(id)?.status)).toEqual(["succeeded", "processing", "processing"]);
    for (const { release } of others) release();
    await Promise.all(applied);
    for (const { id } of jobs) expect(store.get(id)).toMatchObject({ status: "succeeded" });
  });
});

it("has its place in the stream before the first message under way, and starts over in one that has lost its end", async () => {
  await runInDurableObject(hubs.ofShard(SHARD + 2), (_, { storage }) => {
    const store = new PredictionStore(storage);
    const cursor = new StreamCursor(store);
    cursor.reconcile({ created: "now", lastSequence: 9 });
    for (const at of [1, 2, 3]) cursor.take(at);
    cursor.advance(1);
    cursor.advance(3);
    expect(cursor.sequence).toBe(1);
    cursor.save();
    expect(new StreamCursor(store).sequence).toBe(1);
    // Delivered again, it is under way already; one that has failed is not.
    expect([2, 3, 4].map((at) => cursor.has(at))).toEqual([true, true, false]);
    cursor.rewind(2);
    expect([1, 2, 3].map((at) => cursor.has(at))).toEqual([true, false, false]);
    for (const at of [2, 3]) cursor.take(at);
    expect(cursor.reconcile({ created: "now", lastSequence: 3 })).toBe(false);
    expect(cursor.reconcile({ created: "now", lastSequence: 2 })).toBe(true);
    expect([cursor.sequence, cursor.has(1)]).toEqual([0, false]);
  });
});

it("reads what the release before batches has stored", async () => {
  await runInDurableObject(hubs.ofShard(SHARD + 1), async (_, { storage }) => {
    await storage.deleteAll();
    const next = MIGRATIONS.findIndex((statements) => statements.includes("CREATE TABLE inputs"));
    migrate(storage, MIGRATIONS.slice(0, next));
    const { sql } = storage;
    const step = (number: number): string =>
      JSON.stringify({
        step: number,
        total: 4,
        timestep: 4 - number,
        masked: 0,
        images: 1,
        tokens: btoa(`\u0001\u0000`),
      });
    const rows: [string, string, number | null][] = [
      ["ended", "succeeded", 5],
      ["running", "processing", null],
    ];
    for (const [id, status, completedAt] of rows) {
      sql.exec(
        `INSERT INTO predictions (id, key_name, status, model, version, input, prompt_tokens, prompt_truncated, images, total_steps,
           file_capability, stream_capability, created_at, queue_deadline_at, run_timeout_ms, completed_at, started_at, attempt, step,
           event_seq, logs, stage)
         VALUES (?, 'owner', ?, 'm', 'v', '{"prompt":"a tree"}', 1, 0, 1, 4, 'f', 's', 1, 2, 3, ?, 1, 1, 1, 2, 'one\n', 2)`,
        id,
        status,
        completedAt,
      );
      sql.exec("INSERT INTO events VALUES (?, 1, 'step', ?), (?, 2, 'logs', 'one\n')", id, step(1), id);
    }
    sql.exec("INSERT INTO jobs (prediction_id, job, request_id) VALUES ('running', x'01', 'r')");
    migrate(storage);
    const store = new PredictionStore(storage);
    expect(store.get("ended")).toMatchObject({
      inputJson: '{"prompt":"a tree"}',
      status: "succeeded",
      logs: "one\n",
    });
    expect(
      store.page(
        "owner",
        { limit: 5, from: null, createdAfter: null, createdBefore: null },
        { maxBytes: 1_000, lookedThrough: 10 },
      ),
    ).toMatchObject({
      rows: [{ id: "running" }, { id: "ended" }],
    });
    expect(store.live().map(({ id }) => id)).toEqual(["running"]);
    expect(store.queue.running("v")).toEqual({ count: 1, imageSteps: 3 });
    // It goes on: what comes now is numbered after what is there.
    const tokens = Uint8Array.of(2, 0);
    const context = { total: 4, images: 1, from: 0 };
    store.events.addStep("running", context, { step: 2, timestep: 2, masked: 0, elapsedMs: 5, tokens }, 2);
    expect(store.events.after("running", 0, EVERYTHING).map(({ seq, type }) => [seq, type])).toEqual([
      [1, "step"],
      [2, "logs"],
      [3, "step"],
      [4, "logs"],
    ]);
    const running = store.get("running");
    expect(running === undefined ? "" : store.logsOf(running)).toMatch(/^one\n 50%/);
    expect(store.events.tokensAfter("running", 1)).toEqual(Uint8Array.of(1, 0));
    expect(store.events.tokensAfter("running", 2)).toEqual(tokens);
    expect([...store.events.statesOf("running", 0).keys()]).toEqual([1, 2]);
    // And goes when its time has come.
    store.expireSteps(10);
    expect(store.events.after("ended", 0, EVERYTHING)).toEqual([]);
    store.update("ended", { files_expired: 1 });
    store.expireRecords(10);
    expect(sql.exec<{ n: number }>("SELECT count(*) AS n FROM inputs").one().n).toBe(1);
  });
});
