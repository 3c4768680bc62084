// Announcements that cannot be: they change nothing for the models of others, nor the list of all.

import { jetstream } from "@nats-io/jetstream";
import { encodeManifest } from "../../shared/codec.ts";
import { type ModelManifest, modelKey } from "../../shared/model.ts";
import { modelSubject } from "../../shared/subjects.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PLAYED_MODELS } from "../support/played-models.ts";
import { call, hubOf, hubs, MODEL, PlayedWorker } from "./support.ts";

/** Isolates ask their hub every three seconds, and it the stream every ten. */
const STALE = { timeout: 14_000, interval: 100 };

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(async () => {
  await worker.close();
});

const say = (key: string, data: Uint8Array | string): Promise<unknown> =>
  jetstream(worker.nc, { checkAPI: false }).publish(modelSubject(key), data);
const other = (change: Partial<ModelManifest>): ModelManifest => ({
  ...MODEL,
  ...PLAYED_MODELS.other,
  ...change,
});

const hub = () => hubOf("test");
const known = async (version: string): Promise<ModelManifest | undefined> =>
  (await hub().models()).models.find((model) => model.version === version);
async function refused(): Promise<number> {
  const samples = await hub().metrics();
  return samples.find(({ metric }) => metric === "vqd_hub_manifests_refused_total")?.value ?? -1;
}

it("are dated by the broker, whatever their sender says", async () => {
  const sent = other({});
  for (const announcedAt of [0, 8.64e15]) {
    const from = Date.now();
    await worker.announce({ ...sent, announcedAt });
    const at = async (): Promise<number> => (await known(sent.version))?.announcedAt ?? 0;
    await expect.poll(at, STALE).toBeGreaterThanOrEqual(from - 1_000);
    expect(await at()).toBeLessThanOrEqual(Date.now() + 1_000);
  }
  // The version announced last is the newest, and not the one that says so.
  const [second, third] = [other(PLAYED_MODELS.otherLater), other(PLAYED_MODELS.otherLast)];
  await worker.announce({ ...second, announcedAt: 8.64e15 });
  await worker.announce({ ...third, announcedAt: 0 });
  await expect.poll(() => known(third.version), STALE).toBeDefined();
  const newest = async (): Promise<string | undefined> => {
    const response = await call(`/v1/models/${sent.name}/versions`);
    return (await response.json<{ results?: { id: string }[] }>()).results?.[0]?.id;
  };
  await expect.poll(newest, STALE).toBe(third.version);
  // It is the first that serves the name, for all hubs.
  const { latest_version: serving } = await (
    await call(`/v1/models/${sent.name}`)
  ).json<{ latest_version: object }>();
  expect(serving).toMatchObject({ id: sent.version, share: 1 });
  for (let shard = 0; shard < hubs.shards; shard++) {
    const { routes } = await hubs.ofShard(shard).models();
    const shares = [{ version: sent.version, weight: 1 }];
    expect(routes.find(({ name }) => name === sent.name)).toMatchObject({ shares, retired: [] });
  }
});

it.each<[string, () => Uint8Array | string]>([
  ["nothing", () => ""],
  ["no manifest", () => '{"stream":"VQD_EVENTS","seq":1}'],
  ["a date beyond all dates", () => encodeManifest({ ...MODEL, announcedAt: 9e15 })],
  ["the manifest of another model", () => encodeManifest(other({}))],
  ["another version's manifest", () => encodeManifest({ ...MODEL, version: "ef".repeat(32) })],
])("under a model's subject leave it as it was: %s", async (_, data) => {
  const before = await refused();
  await say(modelKey(MODEL), data());
  await expect.poll(refused, STALE).toBe(before + 1);
  expect((await call("/v1/models")).status).toBe(200);
  expect(await known(MODEL.version)).toMatchObject({ name: MODEL.name });
  const created = await call("/v1/predictions", { json: { model: MODEL.name, input: { prompt: "a" } } });
  expect(created.status).toBe(201);
  const { id } = await created.json<{ id: string }>();
  await call(`/v1/predictions/${id}/cancel`, { method: "POST" });
});
