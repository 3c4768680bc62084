// What the hub sends of a prediction's webhooks, when and in which order, to a receiver that answers when it is told to.

import { env } from "cloudflare:workers";
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { endPrediction } from "../../edge/hub/ingest.ts";
import { PredictionStore } from "../../edge/hub/store.ts";
import type { WebhookEvent } from "../../edge/hub/webhook-store.ts";
import { hubOfShard } from "../../edge/hubs.ts";
import type { Job } from "../../shared/job.ts";
import { newJob, newPrediction } from "./support.ts";

/** A hub of its own, whose predictions no worker is to see. */
const SHARD = 6;
const STEPS = 4;
const KEY_NAME = "test";

const hub = hubOfShard(env, SHARD);
const inStore = <T>(work: (store: PredictionStore) => T): Promise<T> =>
  runInDurableObject(hub, (_, state) => work(new PredictionStore(state.storage)));

/** Lets the hub send what is due. */
async function pump(): Promise<void> {
  await runInDurableObject(hub, (_, state) => state.storage.setAlarm(Date.now() + 60_000));
  await runDurableObjectAlarm(hub);
}

/** Two names of one receiver: two hosts. */
const at = (path: string, name = "127.0.0.1"): string => `http://${name}:${env.RECEIVER_PORT}${path}`;
const received = async (path: string): Promise<{ id: string; status: string }[]> =>
  (await (await fetch(at(path))).json<string[]>()).map((body) => JSON.parse(body) as never);
/** Answers what hangs at `path`. */
const answer = async (path: string, status: number): Promise<void> => {
  await fetch(at(`${path}?status=${status}`), { method: "DELETE" });
};

function insert(store: PredictionStore, url: string, events: readonly WebhookEvent[] = ["completed"]): Job {
  const job = newJob(SHARD, STEPS);
  store.insert(job, { ...newPrediction(job, KEY_NAME), webhook: { url, events } });
  return job;
}
const end = (store: PredictionStore, id: string): void =>
  store.atomically(() => endPrediction(store, id, { status: "canceled", at: Date.now() }));

describe("a receiver that hangs", () => {
  it("holds up nobody else, however much waits for it", async () => {
    const ids = await inStore((store) => {
      const urls = [...Array.from({ length: 100 }, () => at("/held/many")), at("/quick", "localhost")];
      return urls.map((url) => {
        const { id } = insert(store, url);
        end(store, id);
        return id;
      });
    });
    await pump();
    await expect.poll(() => received("/held/many")).toHaveLength(4);
    await expect.poll(() => received("/quick")).toMatchObject([{ id: ids.at(-1) }]);
    expect(await received("/held/many")).toHaveLength(4);
    await inStore((store) => {
      for (const id of ids) store.webhooks.disable(id);
    });
    await answer("/held/many", 410);
  });
});
