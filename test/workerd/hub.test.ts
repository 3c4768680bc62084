// The hub's record of a prediction: what each event does, and what it must not do twice.

import { OwnerRate } from "../../edge/hub/admission/owner-rate.ts";
import { env } from "cloudflare:workers";
import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { newCapability } from "../../shared/ids.ts";
import type { Job } from "../../shared/job.ts";
import { createLogger } from "../../shared/log.ts";
import { eventSubject } from "../../shared/subjects.ts";
import { fileKey } from "../../edge/hub/storage/files.ts";
import { ChangeNotifier } from "../../edge/hub/change-notifier.ts";
import type { Hub } from "../../edge/hub/hub.ts";
import { ReaderSlots } from "../../edge/hub/sse/reader-slots.ts";
import { Readers } from "../../edge/hub/sse/readers.ts";
import type { NewPrediction, PredictionRecord } from "../../edge/prediction/records.ts";
import { unwrap } from "../../edge/prediction/hub-result.ts";
import { PredictionStore } from "../../edge/hub/storage/store.ts";
import { type StreamQuery, streamRequest } from "../../edge/hub/sse/stream-request.ts";
import type { HubStub } from "../../edge/service/hubs.ts";
import {
  eventBytes,
  hubs,
  IMAGE,
  MODEL_KEY,
  newJob,
  newPrediction,
  ORIGIN,
  outputEvent,
  PlayedWorker,
  previewEvent,
  type Said,
  script,
  stepEvent,
} from "./support.ts";

/** Hubs of their own, since their streams are written by hand here. */
const SHARD = 5;
const STEPS = 4;
const KEY_NAME = "test";

let worker: PlayedWorker;
let hub: HubStub;
let job: Job;
/** Sequence of the last message made up for the hub; far beyond any real one. */
let sequence = 1_000_000;

beforeAll(async () => {
  worker = await PlayedWorker.start();
  hub = hubs.ofShard(SHARD);
});
afterAll(async () => {
  await worker.close();
});

async function create(made: Job, settings: Partial<NewPrediction> = {}): Promise<PredictionRecord> {
  const result = await hub.create({ ...newPrediction(made, KEY_NAME), ...settings });
  // Out of the queue, which holds few.
  await worker.take({ id: made.id });
  return unwrap(result).record;
}

/** Lets an event take effect as the next of the stream, or again as an old one. */
async function happen(
  said: Said,
  { attempt = 1, attachment }: { attempt?: number; attachment?: Uint8Array } = {},
): Promise<void> {
  const message = {
    subject: eventSubject(SHARD, MODEL_KEY, job.id),
    sequence: ++sequence,
    data: eventBytes(said, attempt, attachment),
  };
  await runInDurableObject(hub, (instance: Hub) => instance.apply(message));
}

const happened = ([said, attachment]: [Said, Uint8Array?], attempt = 1): Promise<void> =>
  happen(said, attachment === undefined ? { attempt } : { attempt, attachment });

const writtenStep = (): Promise<number> =>
  runInDurableObject(hub, (_, { storage }) => {
    const query = "SELECT step FROM predictions WHERE id = ?";
    return storage.sql.exec<{ step: number }>(query, job.id).one().step;
  });
const record = async (): Promise<PredictionRecord> => unwrap(await hub.get(job.id, KEY_NAME));

interface Seen {
  id: number;
  event: string;
  data: string;
}

/** The stream's events after `after`, until it ends or `count` of them have come. */
async function seen(after = 0, count = Infinity, query: Partial<StreamQuery> = {}): Promise<Seen[]> {
  const leaving = new AbortController();
  const request = streamRequest(
    { id: job.id, after, origin: ORIGIN, keyName: KEY_NAME, ...query },
    leaving.signal,
  );
  const response = await hub.fetch(request);
  if (response.status !== 200) throw new Error(`status ${response.status}`);
  const events: Seen[] = [];
  let text = "";
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done = true, value = "" } = (await reader?.read()) ?? {};
    if (done) break;
    text += value;
    const frames = text.split("\n\n");
    text = frames.pop() ?? "";
    for (const lines of frames) {
      const [, id, event, data] = /^id: (\d+)\nevent: (\w+)\n((?:data: .*\n?)+)$/.exec(lines) ?? [];
      if (id !== undefined && event !== undefined && data !== undefined) {
        events.push({ id: Number(id), event, data: data.replaceAll(/^data: /gm, "") });
      }
    }
    if (events.length >= count) {
      leaving.abort();
      await reader?.cancel();
      break;
    }
  }
  return events;
}

const kinds = (events: readonly Seen[]): string[] =>
  events.filter(({ event }) => event !== "logs").map(({ event }) => event);
const stepsOf = (events: readonly Seen[]): number[] =>
  events
    .filter(({ event }) => event === "step")
    .map(({ data }) => (JSON.parse(data) as { step: number }).step);
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

beforeEach(async () => {
  job = newJob(SHARD, STEPS);
});

describe("ingestion", () => {
  it("records a run from start to file", async () => {
    await create(job);
    expect((await record()).status).toBe("starting");
    for (const event of script(STEPS, 1)) await happened(event);
    const done = await record();
    expect(done).toMatchObject({
      status: "succeeded",
      step: STEPS,
      attempt: 1,
      numericsId: "played-1",
      predictSeconds: 0.001,
      outputs: [{ index: 0, name: "0.png" }],
      errorCode: null,
    });
    expect(done.logs.split("\n").at(-2)).toMatch(/^100%\|█{10}\| 4\/4 \[00:00<00:00, /);
    const file = await env.FILES.get(fileKey(done.fileCapability, "0.png"));
    expect(new Uint8Array((await file?.arrayBuffer()) ?? new ArrayBuffer())).toEqual(IMAGE);
    expect(file?.httpMetadata?.contentType).toBe("image/png");

    const events = await seen();
    expect(events.map(({ id }) => id)).toEqual(upTo(events.length));
    expect(kinds(events)).toEqual(["started", "step", "step", "step", "step", "output", "done"]);
    const step = JSON.parse(events.find(({ event }) => event === "step")?.data ?? "") as { tokens: string };
    expect(step).toMatchObject({ step: 1, total: STEPS, timestep: 3, masked: 3, images: 1 });
    expect(Uint8Array.from(atob(step.tokens), (char) => char.charCodeAt(0))).toEqual(
      new Uint8Array(8).fill(1),
    );
  });

  it("gives Replicate's reader the bare URL of an output", async () => {
    const { streamCapability, fileCapability } = await create(job);
    for (const event of script(STEPS, 1)) await happened(event);
    const url = `${ORIGIN}/v1/files/${fileCapability}/0.png`;
    const byKey = (await seen()).find(({ event }) => event === "output");
    expect(JSON.parse(byKey?.data ?? "")).toEqual({ index: 0, url });
    const request = { id: job.id, after: 0, origin: ORIGIN, capability: streamCapability };
    const response = await hub.fetch(streamRequest(request, new AbortController().signal));
    expect(await response.text()).toContain(`event: output\ndata: ${url}\n`);
    const wrong = { ...request, capability: newCapability() };
    expect((await hub.fetch(streamRequest(wrong, new AbortController().signal))).status).toBe(404);
  });

  it.each([
    ["with the same numerics, and shows no step twice", "n", [1, 2, 3, 4]],
    ["with other numerics, and shows its steps anew", "m", [1, 2, 3, 3, 4]],
  ])("drops what an older attempt still says, goes on %s", async (_, numericsId, steps) => {
    const start = { type: "started", worker: "w", total: STEPS } as const;
    await create(job);
    await happen({ ...start, numericsId: "n", resumedFrom: 0 });
    for (const step of [1, 2, 3]) await happened(stepEvent(step, STEPS));
    await happen({ ...start, numericsId, resumedFrom: 2 }, { attempt: 2 });
    await happened(stepEvent(4, STEPS));
    await happened([{ type: "failed", error: { code: "model_error", message: "late" } }]);
    expect(await record()).toMatchObject({ status: "processing", attempt: 2, numericsId });
    await happened(stepEvent(3, STEPS), 2);
    await happened(stepEvent(4, STEPS), 2);
    await happened(outputEvent(0), 2);
    await happened([{ type: "succeeded", predictSeconds: 1 }], 2);
    const events = await seen();
    expect(stepsOf(events)).toEqual(steps);
    const starts = events
      .filter(({ event }) => event === "started")
      .map(({ data }) => JSON.parse(data) as object);
    expect(starts).toMatchObject([
      { attempt: 1, resumed_from: 0 },
      { attempt: 2, resumed_from: 2 },
    ]);
    expect(events.at(-1)?.data).toBe('{"status":"succeeded"}');
  });

  it("ignores repeated events", async () => {
    job = newJob(SHARD, STEPS, 2);
    await create(job);
    for (const event of script(STEPS, 2)) {
      await happened(event);
      await happened(event);
    }
    const events = await seen();
    expect(kinds(events)).toEqual(["started", "step", "step", "step", "step", "output", "output", "done"]);
  });

  it("does not change once it has ended", async () => {
    await create(job);
    unwrap(await hub.cancel(job.id, KEY_NAME));
    for (const event of script(STEPS, 1)) await happened(event);
    expect(await record()).toMatchObject({ status: "canceled", step: 0, outputs: [] });
    expect(kinds(await seen())).toEqual(["done"]);
    expect(unwrap(await hub.cancel(job.id, KEY_NAME)).status).toBe("canceled");
  });

  it("reports a failure with its code, and a success with missing images as a failure", async () => {
    await create(job);
    await happen({ type: "failed", error: { code: "model_error", message: "no memory" } });
    expect(await record()).toMatchObject({
      status: "failed",
      errorCode: "model_error",
      errorMessage: "no memory",
    });
    expect((await seen()).map(({ event, data }) => [event, data])).toEqual([
      ["error", '{"detail":"no memory","code":"model_error"}'],
      ["done", '{"status":"failed","reason":"error"}'],
    ]);
    job = newJob(SHARD, STEPS, 2);
    await create(job);
    await happened(outputEvent(0));
    await happen({ type: "succeeded", predictSeconds: 1 });
    expect(await record()).toMatchObject({ status: "failed", errorCode: "internal" });
  });

  it("ignores predictions it does not know", async () => {
    const unknown = newJob(SHARD, STEPS);
    await runInDurableObject(hub, (instance: Hub) =>
      instance.apply({
        subject: eventSubject(SHARD, MODEL_KEY, unknown.id),
        sequence: ++sequence,
        data: eventBytes(stepEvent(1, STEPS)[0], 1),
      }),
    );
    expect(await hub.get(unknown.id, KEY_NAME)).toMatchObject({ ok: false, error: { code: "not_found" } });
  });

  it("hides a prediction from other owners", async () => {
    await create(job);
    for (const result of [await hub.get(job.id, "other"), await hub.cancel(job.id, "other")]) {
      expect(result).toMatchObject({ ok: false, error: { code: "not_found" } });
    }
    await expect(seen(0, 1, { keyName: "other" })).rejects.toThrow("404");
    expect((await record()).status).toBe("starting");
  });
});

describe("event streams", () => {
  it("resumes anywhere without gaps or repetitions, even while events arrive", async () => {
    await create(job);
    const events = [...script(STEPS, 1)];
    for (const event of events.slice(0, 3)) await happened(event);
    const first = await seen(0, 3);
    const after = first[2]?.id ?? 0;
    const [rest] = await Promise.all([
      seen(after),
      (async () => {
        for (const event of events.slice(3)) await happened(event);
      })(),
    ]);
    const ids = [...first.slice(0, 3), ...rest].map(({ id }) => id);
    expect(ids).toEqual(upTo(ids.length));
    expect(rest.at(-1)?.event).toBe("done");
    const all = await seen();
    for (let cut = 0; cut < all.length; cut++) expect(await seen(cut)).toEqual(all.slice(cut));
    await expect(seen(all.length)).rejects.toThrow("204");
  });

  it("serves the same to many readers", async () => {
    await create(job);
    const readers = Array.from({ length: 20 }, () => seen());
    for (const event of script(STEPS, 1)) await happened(event);
    const [first, ...others] = await Promise.all(readers);
    expect(first?.at(-1)?.event).toBe("done");
    for (const other of others) expect(other).toEqual(first);
  });

  it("are open to each owner up to a share, whoever holds the URL, and again once one is closed", async () => {
    const { streamCapability } = await create(job);
    const others = newJob(SHARD, STEPS);
    await create(others, { keyName: "other" });
    await runInDurableObject(hub, async (_, state) => {
      const slots = new ReaderSlots(8);
      const readers = new Readers({
        openings: new OwnerRate(1_000, "event streams"),
        store: new PredictionStore(state.storage),
        changes: new ChangeNotifier(),
        log: createLogger(() => {}),
        slots,
      });
      const base = { id: job.id, after: 0, origin: ORIGIN };
      const open = (query: StreamQuery): Response =>
        readers.open(streamRequest(query, new AbortController().signal));
      const [first, second] = [open({ ...base, keyName: KEY_NAME }), open({ ...base, keyName: KEY_NAME })];
      const third = open({ ...base, capability: streamCapability });
      expect([first, second, third].map(({ status }) => status)).toEqual([200, 200, 503]);
      expect(third.headers.get("retry-after")).toBe("5");
      const other = open({ ...base, id: others.id, keyName: "other" });
      expect(other.status).toBe(200);
      await first.body?.cancel();
      const again = open({ ...base, capability: streamCapability });
      expect(again.status).toBe(200);
      await Promise.all([second, other, again].map(async ({ body }) => body?.cancel()));
      expect(slots.count).toBe(0);
    });
    unwrap(await hub.cancel(job.id, KEY_NAME));
    unwrap(await hub.cancel(others.id, "other"));
  });

  it("hold an owner's waiting requests to the same share, also those of one idempotency key", async () => {
    await create(job);
    const others = newJob(SHARD, STEPS);
    await create(others, { keyName: "other" });
    const query = { id: job.id, keyName: KEY_NAME, after: 0, types: ["done"] };
    // The owner's share of a hub's 2,000.
    const held = Array.from({ length: 500 }, (_, i) =>
      i % 2 === 0 ? hub.wait(job.id, KEY_NAME, 30_000, false) : hub.events(query, 30_000, false),
    );
    await expect.poll(readerCount).toBe(500);
    expect(await hub.wait(job.id, KEY_NAME, 30_000, false)).toMatchObject({
      ok: false,
      error: { code: "too_many_readers", retryable: true, retryAfterSeconds: 5 },
    });
    expect(await hub.events(query, 30_000, false)).toMatchObject({
      ok: false,
      error: { code: "too_many_readers" },
    });
    // What has been admitted goes on, and so do others.
    const going = hub.events(query, 30_000, true);
    expect(await hub.wait(others.id, "other", 0, false)).toMatchObject({ ok: true });
    unwrap(await hub.cancel(job.id, KEY_NAME));
    unwrap(await hub.cancel(others.id, "other"));
    for (const result of await Promise.all([...held, going])) expect(result.ok).toBe(true);
    expect(await readerCount()).toBe(0);
  });

  it("continues after the hub has been killed", async () => {
    await create(job);
    await happened(stepEvent(1, STEPS));
    // Its stream is written by hand here, and cannot be read again: the step has to be written.
    await expect.poll(writtenStep).toBe(1);
    await abortAllDurableObjects();
    hub = hubs.ofShard(SHARD);
    expect(await record()).toMatchObject({ status: "processing", step: 1 });
    expect(stepsOf(await seen(0, 1))).toEqual([1]);
    // The new object has joined the real stream and follows it.
    await worker.say(job, ...stepEvent(2, STEPS));
    await expect.poll(async () => (await record()).step).toBe(2);
    unwrap(await hub.cancel(job.id, KEY_NAME));
  });
});

const readerCount = async (): Promise<number | undefined> =>
  (await hub.metrics()).find(({ metric }) => metric === "vqd_hub_readers")?.value;

describe("deadlines and retention", () => {
  const alarm = (): Promise<boolean> => runDurableObjectAlarm(hub);

  it("fails a prediction that no worker picks up", async () => {
    await create(job, { queueTimeoutMs: 0 });
    const waiting = hub.wait(job.id, KEY_NAME, 10_000, false);
    expect(await alarm()).toBe(true);
    const failed = unwrap(await waiting);
    expect(failed).toMatchObject({ status: "failed", errorCode: "no_worker" });
    expect(failed.errorMessage).toMatch(/no worker of version .* picked the prediction up within/);
    expect(kinds(await seen())).toEqual(["error", "done"]);
  });

  it("fails a prediction that runs too long, and stops its worker", async () => {
    await create(job);
    const stopped = worker.canceled(job.id);
    await worker.nc.flush();
    await happen({ type: "started", worker: "a", numericsId: "n", resumedFrom: 0, total: STEPS });
    // As if it had started two minutes ago; it has one.
    await runInDurableObject(hub, (_, { storage }) =>
      storage.sql.exec("UPDATE predictions SET started_at = started_at - 120000 WHERE id = ?", job.id),
    );
    await alarm();
    expect(await record()).toMatchObject({ status: "failed", errorCode: "deadline_exceeded" });
    await stopped;
  });

  it("does not touch a prediction within its deadlines", async () => {
    await create(job);
    await alarm();
    expect((await record()).status).toBe("starting");
    unwrap(await hub.cancel(job.id, KEY_NAME));
  });

  /** As if the prediction had ended so long ago. */
  const age = (seconds: number): Promise<unknown> =>
    runInDurableObject(hub, (_, state) => {
      const at = Date.now() - seconds * 1_000;
      state.storage.sql.exec("UPDATE predictions SET completed_at = ? WHERE id = ?", at, job.id);
      return state.storage.setAlarm(Date.now() + 60_000);
    });

  it("deletes steps first, then images, then the record", async () => {
    const { fileCapability } = await create(job);
    for (const event of script(STEPS, 1)) await happened(event);
    await age(1_000);
    await alarm();
    expect(kinds(await seen())).toEqual(["started", "output", "done"]);
    await age(100_000);
    await alarm();
    expect(await record()).toMatchObject({ filesExpired: true, status: "succeeded" });
    expect(await env.FILES.get(fileKey(fileCapability, "0.png"))).toBeNull();
    await age(700_000);
    await alarm();
    expect(await hub.get(job.id, KEY_NAME)).toMatchObject({ ok: false, error: { code: "not_found" } });
  });

  it("deletes the previews of an attempt that started over", async () => {
    job = { ...job, previews: 1 };
    const { fileCapability } = await create(job);
    const start = { type: "started", worker: "w", total: STEPS, resumedFrom: 0 } as const;
    await happen({ ...start, numericsId: "n" });
    await happened(stepEvent(1, STEPS));
    await happened(previewEvent(0, 1));
    await happen({ ...start, numericsId: "m" }, { attempt: 2 });
    expect(await record()).toMatchObject({ step: 0, outputs: [] });
    unwrap(await hub.cancel(job.id, KEY_NAME));
    const preview = fileKey(fileCapability, "0-0.png");
    expect(await env.FILES.head(preview)).not.toBeNull();
    await age(100_000);
    await alarm();
    expect((await record()).filesExpired).toBe(true);
    expect(await env.FILES.head(preview)).toBeNull();
  });
});
