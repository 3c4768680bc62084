// What owners have used: it adds up, whatever order events come in and however often the hub dies; and what the API says of it.

import { runInDurableObject } from "cloudflare:test";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { usageSchema } from "../../edge/api-docs/usage.ts";
import { endPrediction, ingest } from "../../edge/hub/events/ingest.ts";
import { MIGRATIONS, migrate } from "../../edge/hub/storage/database/schema.ts";
import { newRow } from "../../edge/hub/storage/prediction-row.ts";
import { PredictionStore } from "../../edge/hub/storage/store.ts";
import type { PredictionEvent } from "../../shared/events.ts";
import type { Job } from "../../shared/job.ts";
import {
  call,
  hubs,
  newJob,
  newPrediction,
  outputEvent,
  PlayedWorker,
  type Said,
  script,
  stepEvent,
} from "./support.ts";

/** A hub of its own, whose events are not from the stream. */
const SHARD = 17;
const HOUR_MS = 3_600_000;
const ALL = { from: "2000-01-01", to: "2100-01-01" };

interface Used {
  images: number;
  steps: number;
  gpuMs: number;
}

/** What happens to a prediction, message by message, and what that is to be counted as. */
interface Story {
  readonly job: Job;
  readonly owner: string;
  readonly messages: readonly (PredictionEvent | "canceled by the hub")[];
  readonly used: Used;
}

interface Attempt {
  readonly steps: number;
  readonly msPerStep: number;
  /** Whether it has numerics of its own, and so starts over. */
  readonly isOther: boolean;
  readonly end: "dies" | "yields";
}
interface Plan {
  readonly owner: string;
  readonly total: number;
  readonly images: number;
  readonly spared: number;
  readonly attempts: readonly Attempt[];
  readonly last: Omit<Attempt, "end">;
  readonly end: "succeeded" | "failed" | "canceled" | "canceled by the hub";
}

const attempt = {
  steps: fc.nat(12),
  msPerStep: fc.nat(900),
  isOther: fc.boolean(),
};
const plan: fc.Arbitrary<Plan> = fc.record({
  owner: fc.constantFrom("ann", "bob"),
  total: fc.integer({ min: 1, max: 12 }),
  images: fc.integer({ min: 1, max: 3 }),
  spared: fc.nat(3),
  attempts: fc.array(fc.record({ ...attempt, end: fc.constantFrom("dies", "yields") }), { maxLength: 3 }),
  last: fc.record(attempt),
  end: fc.constantFrom("succeeded", "failed", "canceled", "canceled by the hub"),
});

/** The messages of a plan, and, told from the plan alone, what they are to be counted as. */
function storyOf({ owner, total, images, spared: wanted, attempts, last, end }: Plan): Story {
  const job = { ...newJob(SHARD, total, images), createdAt: Date.now() - HOUR_MS };
  const spared = Math.min(wanted, total - 1);
  const messages: (PredictionEvent | "canceled by the hub")[] = [];
  let at = job.createdAt;
  let reached = 0;
  let furthest = spared;
  let gpuMs = 0;
  const runs = [...attempts, { ...last, end }];
  for (const [i, run] of runs.entries()) {
    const number = i + 1;
    const say = ([said, attachment = new Uint8Array()]: [Said, Uint8Array?]): void => {
      const event = { ...said, v: 1, attempt: number, at } as PredictionEvent;
      attachments.set(event, attachment);
      messages.push(event);
    };
    const from = run.isOther ? 0 : reached;
    const numericsId = `numerics-${runs.findLastIndex((one, j) => j <= i && one.isOther)}`;
    const startedAt = at;
    say([{ type: "started", worker: "w", numericsId, resumedFrom: from, total, yields: true }]);
    if (from === 0 && spared > 0) {
      say([{ type: "beginning", step: spared, images, held: null }, new Uint8Array(images * 8)]);
    }
    const begins = Math.max(1, from === 0 ? spared : from + 1);
    const makes = run.end === "succeeded" ? total : Math.min(total, begins + run.steps - 1);
    let lastAt = at;
    for (let step = begins; step <= makes; step++) {
      lastAt = at += run.msPerStep;
      say(stepEvent(step, total, images));
    }
    reached = Math.max(makes, from);
    furthest = Math.max(furthest, reached);
    at += 7;
    const predictSeconds = (at - startedAt) / 1_000;
    if (run.end === "dies") gpuMs += lastAt - startedAt;
    else if (run.end === "canceled by the hub") {
      gpuMs += lastAt - startedAt;
      messages.push(run.end);
    } else {
      gpuMs += at - startedAt;
      if (run.end === "succeeded") {
        for (let index = 0; index < images; index++) say(outputEvent(index));
        say([{ type: "succeeded", predictSeconds }]);
      } else if (run.end === "yields") say([{ type: "yielded", step: reached, predictSeconds }]);
      else if (run.end === "failed") {
        // Some images are delivered all the same.
        if (images > 1) say(outputEvent(0));
        say([{ type: "failed", error: { code: "model_error", message: "failed" } }]);
      } else say([{ type: "canceled" }]);
    }
  }
  const delivered = { succeeded: images, failed: images > 1 ? 1 : 0 };
  const used = {
    images: end === "succeeded" || end === "failed" ? delivered[end] : 0,
    steps: images * (furthest - spared),
    gpuMs,
  };
  return { job, owner, messages, used };
}
const attachments = new WeakMap<object, Uint8Array>();

const add = (a: Used, b: Used): Used => ({
  images: a.images + b.images,
  steps: a.steps + b.steps,
  gpuMs: a.gpuMs + b.gpuMs,
});
const NOTHING: Used = { images: 0, steps: 0, gpuMs: 0 };

describe("usage", () => {
  it("adds up, whatever order events come in, however often they come, and wherever the hub dies", async () => {
    const scenario = fc.record({
      plans: fc.array(plan, { minLength: 1, maxLength: 4 }),
      // Which prediction's message is next, and what happens before it.
      order: fc.infiniteStream(fc.nat(3)),
      fates: fc.infiniteStream(
        fc.oneof({ weight: 6, arbitrary: fc.constant("none") }, fc.constantFrom("writes", "dies", "repeats")),
      ),
    });
    await runInDurableObject(hubs.ofShard(SHARD), (_, { storage }) => {
      fc.assert(
        fc.property(scenario, ({ plans, order, fates }) => {
          storage.sql.exec("DELETE FROM predictions");
          storage.sql.exec("UPDATE usage_lines SET key_name = key_name || ' before'");
          storage.sql.exec("DELETE FROM usage_by_day");
          const stories = plans.map(storyOf);
          let store = new PredictionStore(storage);
          for (const { job, owner } of stories) {
            store.insert(newRow(job, newPrediction(job, owner)));
            store.jobs.keep({ id: job.id, job: new Uint8Array(1), requestId: "r", traceparent: undefined });
          }
          // The stream: those of one prediction in their order.
          const stream: { story: Story; message: Story["messages"][number] }[] = [];
          const left = stories.map(({ messages }) => [...messages]);
          while (left.some(({ length }) => length > 0)) {
            const waiting = stories.flatMap((story, i) => (left[i]?.length ? [{ story, of: left[i] }] : []));
            const next = waiting[order.next().value % waiting.length];
            const message = next?.of.shift();
            if (next !== undefined && message !== undefined) stream.push({ story: next.story, message });
          }
          let cursor = 0;
          let furthest = 0;
          for (let at = 0; at < stream.length; at++) {
            const fate = fates.next().value;
            if (fate === "writes") {
              for (const id of store.events.unwritten()) store.events.flush(id);
              cursor = at;
            } else if (fate === "dies") {
              // What was not written is read again, by another instance.
              store = new PredictionStore(storage);
              at = cursor;
            } else if (fate === "repeats") at = Math.max(0, at - 2);
            const { story, message } = stream[at] ?? {};
            const row = story && store.get(story.job.id);
            if (row === undefined || message === undefined) throw new Error("no such prediction");
            // A caller cancels once.
            const isAgain = at < furthest;
            furthest = Math.max(furthest, at + 1);
            store.atomically(() => {
              if (message !== "canceled by the hub") {
                ingest(store, row, message, attachments.get(message) ?? new Uint8Array());
              } else if (!isAgain) endPrediction(store, row.id, { status: "canceled", at: Date.now() });
            });
          }
          for (const owner of ["ann", "bob"]) {
            const own = stories.filter((story) => story.owner === owner);
            const days = store.usage.byDay(owner, ALL);
            expect(days.reduce(add, NOTHING)).toEqual(own.map(({ used }) => used).reduce(add, NOTHING));
            expect(days.reduce((sum, { predictions }) => sum + predictions, 0)).toBe(own.length);
          }
        }),
        { numRuns: 150 },
      );
    });
  });

  it("is no more time than the prediction has existed, whatever a worker says", async () => {
    const used = await runInDurableObject(hubs.ofShard(SHARD), (_, { storage }) => {
      const store = new PredictionStore(storage);
      const job = newJob(SHARD, 1);
      store.insert(newRow(job, newPrediction(job, "boaster")));
      for (const [said, attachment] of script(1, 1)) {
        const at = Date.now() + (said.type === "step" ? 1e12 : 0);
        const boasted = said.type === "succeeded" ? { ...said, predictSeconds: 1e300 } : said;
        const row = store.get(job.id);
        if (row === undefined) throw new Error("no such prediction");
        const event = { ...boasted, v: 1, attempt: 1, at } as PredictionEvent;
        store.atomically(() => ingest(store, row, event, attachment ?? new Uint8Array()));
      }
      return store.usage.byDay("boaster", ALL);
    });
    expect(used).toMatchObject([{ predictions: 1, images: 1, steps: 1 }]);
    expect(used[0]?.gpuMs).toBeLessThan(60_000);
  });
});

it("is counted of predictions that were running when the hub was upgraded", async () => {
  const used = await runInDurableObject(hubs.ofShard(SHARD + 1), async (_, { storage }) => {
    await storage.deleteAll();
    migrate(
      storage,
      MIGRATIONS.slice(
        0,
        MIGRATIONS.findIndex((statements) => statements.includes("usage_by_day")),
      ),
    );
    storage.sql.exec(
      `INSERT INTO predictions (id, key_name, status, model, version, prompt_tokens, prompt_truncated, images, total_steps,
         file_capability, stream_capability, created_at, queue_deadline_at, run_timeout_ms, started_at, attempt, step, predict_seconds)
       VALUES ('p', 'old', 'processing', 'm', 'v', 1, 0, 2, 4, 'f', 's', 1, 2, 3, 1, 1, 3, 1.5)`,
    );
    migrate(storage);
    const store = new PredictionStore(storage);
    store.atomically(() => endPrediction(store, "p", { status: "canceled", at: Date.UTC(2026, 1, 3) }));
    return store.usage.byDay("old", ALL);
  });
  expect(used).toEqual([
    { date: "2026-02-03", model: "m", predictions: 1, images: 0, steps: 6, gpuMs: 1_500 },
  ]);
});

describe("GET /v1/usage", () => {
  let worker: PlayedWorker;
  beforeAll(async () => {
    worker = await PlayedWorker.start();
  });
  afterAll(() => worker.close());

  const OTHER = "other-key";
  const create = async (input: object): Promise<Job> => {
    const json = { input: { prompt: "a red apple", num_inference_steps: 6, ...input } };
    const { id } = await (await call("/v1/predictions", { json, key: OTHER })).json<{ id: string }>();
    return worker.take({ id });
  };
  const usage = async (query = "", key = OTHER) => {
    const response = await call(`/v1/usage${query}`, { key });
    expect(response.status).toBe(200);
    return usageSchema.parse(await response.json());
  };
  const total = async () =>
    (await usage(`?to=${new Date().toISOString().slice(0, 10)}`)).data.reduce(
      (sum, { predictions, images, steps }) => ({
        predictions: sum.predictions + predictions,
        images: sum.images + images,
        steps: sum.steps + steps,
      }),
      { predictions: 0, images: 0, steps: 0 },
    );

  it("counts what was made, also of what was canceled and deleted since, and only the owner's", async () => {
    const whole = await create({ num_outputs: 3 });
    await worker.play(whole);
    await expect.poll(total).toEqual({ predictions: 1, images: 3, steps: 18 });
    expect((await call(`/v1/predictions/${whole.id}`, { method: "DELETE", key: OTHER })).status).toBe(204);

    const part = await create({ num_outputs: 2 });
    const events = [...script(6, 2)].slice(0, 5);
    for (const [said, attachment] of events) await worker.say(part, said, attachment);
    const path = `/v1/predictions/${part.id}`;
    const stepsOf = async () =>
      (await (await call(path, { key: OTHER })).json<{ metrics: { steps: number } }>()).metrics.steps;
    await expect.poll(stepsOf).toBe(4);
    // The hub dies, and learns of these steps anew.
    await runInDurableObject(hubs.ofPrediction(part.id), (_, state) =>
      state.abort("the test kills it"),
    ).catch(() => {});
    expect((await call(`${path}/cancel`, { method: "POST", key: OTHER })).status).toBe(200);
    expect(await total()).toEqual({ predictions: 2, images: 3, steps: 18 + 8 });

    const { data, from, to } = await usage();
    expect(from).toBe(`${to.slice(0, -2)}01`);
    expect(data.every(({ model }) => model === "vqd/played")).toBe(true);
    expect(data.reduce((sum, one) => sum + one.gpu_seconds, 0)).toBeGreaterThan(0);
    expect((await usage("", "test-key")).data).toEqual([]);
    expect(await usage("?from=2020-01-01&to=2020-02-29")).toMatchObject({ from: "2020-01-01", data: [] });
  });

  it.each([
    ["from=yesterday", "from", "must be a date such as 2026-11-29"],
    ["to=2026-02-30", "to", "must be a date such as 2026-11-29"],
    ["from=2026-01-02&to=2026-01-01", "from", "must not be after to"],
    ["from=2025-01-01&to=2026-01-02", "from", "must be less than 366 days before to"],
  ])("refuses %s", async (query, path, message) => {
    const response = await call(`/v1/usage?${query}`);
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ code: "invalid_input", errors: [{ path, message }] });
  });
});
