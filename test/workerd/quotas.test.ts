// Monthly quotas of keys: counted against what is under way too, refused in every dialect, and new each month.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { usageSchema } from "../../edge/api-docs/usage.ts";
import { openaiErrorSchema, problemSchema } from "../../edge/api-docs/answers.ts";
import { admitToQuotas, quotaStates } from "../../edge/hub/admission/quotas.ts";
import { newRow } from "../../edge/hub/storage/prediction-row.ts";
import { unwrap } from "../../edge/prediction/hub-result.ts";
import type { Quotas } from "../../shared/api-key.ts";
import { storeKey } from "./stored-key.ts";
import { end, happen, inStoreOf } from "./stored.ts";
import {
  call,
  hubs,
  newJob,
  newPrediction,
  outputEvent,
  PlayedWorker,
  script,
  stepEvent,
} from "./support.ts";

/** A hub of its own, without a worker. */
const SHARD = 19;
const STEPS = 5;
const hub = hubs.ofShard(SHARD);
const inStore = inStoreOf(SHARD);

const ask = (owner: string, quotas: Quotas, images = 1) =>
  hub.create({ ...newPrediction(newJob(SHARD, STEPS, images), owner), quotas });

describe("a hub", () => {
  it("admits of requests at once only what is left, and more when one has used less", async () => {
    const quotas = { images: 5, steps: 1_000 };
    const answers = await Promise.all(Array.from({ length: 6 }, () => ask("parallel", quotas, 2)));
    const made = answers.filter(({ ok }) => ok).map((answer) => unwrap(answer).record.id);
    expect(made).toHaveLength(2);
    expect(answers.find(({ ok }) => !ok)).toMatchObject({
      error: {
        code: "quota_exceeded",
        retryable: true,
        retryAfterSeconds: 5,
        quota: { name: "images", limit: 5, used: 0, reserved: 4 },
      },
    });
    const [first = "", second = ""] = made;
    unwrap(await hub.cancel(first, "parallel"));
    const third = unwrap(await ask("parallel", quotas, 3)).record.id;
    // Another key of the owner has quotas of its own, and one without any is not limited.
    expect(await ask("parallel", { images: 6 }, 2)).toMatchObject({ ok: false });
    const others = [unwrap(await ask("parallel", {}, 2)), unwrap(await ask("other", quotas, 2))];
    for (const id of [second, third, others[0]?.record.id ?? ""]) unwrap(await hub.cancel(id, "parallel"));
    unwrap(await hub.cancel(others[1]?.record.id ?? "", "other"));
  });

  it("counts what was used: steps of what was canceled, images that were delivered, and seconds", async () => {
    await inStore((store) => {
      const job = { ...newJob(SHARD, STEPS, 2), createdAt: Date.now() - 60_000 };
      store.insert(newRow(job, newPrediction(job, "user")));
      happen(store, job.id, [
        { type: "started", worker: "w", numericsId: "n", resumedFrom: 0, total: STEPS },
      ]);
      for (const step of [1, 2, 3]) happen(store, job.id, stepEvent(step, STEPS, 2));
      happen(store, job.id, outputEvent(0));
      end(store, job.id);
      const now = Date.now();
      const quotas = { images: 10, steps: 20, gpu_seconds: 30 };
      expect(quotaStates(store, "user", quotas, now)).toMatchObject([
        { name: "images", limit: 10, used: 1, reserved: 0 },
        { name: "steps", limit: 20, used: 6, reserved: 0 },
        { name: "gpu_seconds", limit: 30, reserved: 0 },
      ]);
      const admit = (imageSteps: number, at = now): void =>
        admitToQuotas(store, "user", { steps: 20 }, { version: "v", images: 1, imageSteps }, at);
      admit(14);
      expect(() => admit(15)).toThrow(
        /limited to 20 steps of images a month \(steps\): 6 are used, 0 reserved .* this one asks for 15; the next month begins at .*-01T00:00:00.000Z/,
      );
      const next = new Date(now);
      next.setUTCMonth(next.getUTCMonth() + 1, 1);
      admit(20, next.getTime());
    });
  });

  it("reserves the seconds that work takes at the pace of its model", async () => {
    await inStore((store) => {
      const now = Date.now();
      const run = (owner: string): string => {
        const job = { ...newJob(SHARD, STEPS), createdAt: now - 60_000, version: "f".repeat(64) };
        store.insert(newRow(job, newPrediction(job, owner)));
        return job.id;
      };
      const wanted = { version: "f".repeat(64), images: 1, imageSteps: STEPS };
      const admit = (limit: number): void =>
        admitToQuotas(store, "timed", { gpu_seconds: limit }, wanted, now);
      // Nothing is known of the pace.
      admit(1);
      const first = run("timed");
      for (const said of script(STEPS, 1)) {
        happen(store, first, said[0].type === "succeeded" ? [{ ...said[0], predictSeconds: 10 }] : said);
      }
      run("timed");
      const [state] = quotaStates(store, "timed", { gpu_seconds: 30 }, now);
      expect(state).toMatchObject({ used: 10, reserved: 10 });
      admit(30);
      expect(() => admit(29)).toThrow("this one asks for 10");
    });
  });
});

describe("a key with a quota", () => {
  let worker: PlayedWorker;
  beforeAll(async () => {
    worker = await PlayedWorker.start();
  });
  afterAll(() => worker.close());

  it("is refused in the dialect of each route once it is used up, and sees how far it is", async () => {
    const key = await storeKey({ quotas: { images: 2 } });
    const json = { input: { prompt: "a cat", num_inference_steps: 2, num_outputs: 2 } };
    const headers = { "idempotency-key": "once" };
    const { id } = await (await call("/v1/predictions", { json, key, headers })).json<{ id: string }>();
    await worker.play(await worker.take({ id }));
    const quotas = async () => usageSchema.parse(await (await call("/v1/usage", { key })).json()).quotas;
    await expect.poll(quotas).toMatchObject([{ name: "images", limit: 2, used: 2, reserved: 0 }]);

    const refused = await call("/v1/predictions", { json, key });
    expect(refused.status).toBe(429);
    expect(refused.headers.get("content-type")).toBe("application/problem+json");
    const problem = problemSchema.parse(await refused.json());
    expect(problem).toMatchObject({ code: "quota_exceeded", quota: { name: "images", limit: 2, used: 2 } });
    const resetsAt = Date.parse(problem.quota?.resets_at ?? "");
    expect(resetsAt).toBeGreaterThan(Date.now());
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan((resetsAt - Date.now()) / 1_000 - 60);

    const openai = await call("/v1/images/generations", { json: { prompt: "a cat" }, key });
    expect([openai.status, openai.headers.get("x-should-retry")]).toEqual([429, "false"]);
    expect(openaiErrorSchema.parse(await openai.json()).error).toMatchObject({
      type: "insufficient_quota",
      code: "insufficient_quota",
    });
    const huggingface = await call("/", { json: { inputs: "a cat" }, key });
    expect(huggingface.status).toBe(429);
    expect(await huggingface.json()).toMatchObject({ error_type: "quota_exceeded" });
    // What was made before is found all the same.
    expect(await (await call("/v1/predictions", { json, key, headers })).json()).toMatchObject({ id });
  });
});
