// A NATS cluster that loses servers in the middle of predictions: none is lost, none is done twice.

import { STREAMS } from "@vqd/shared/subjects.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import { allEvents, createPrediction, getPrediction, request, stepNumbers, upTo } from "./support/client.ts";
import { TestCluster } from "./support/cluster.ts";

const STEPS = 8;
const input = (seed: number) => ({ prompt: "a tree", num_inference_steps: STEPS, guidance_scale: 2, seed });
/** Longer than servers take to choose a leader anew. */
const RECOVERY_MS = 60_000;

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start();
  await Promise.all([
    cluster.startEdge({ QUEUE_TIMEOUT_SECONDS: "300" }),
    cluster.startWorker(),
    cluster.startWorker(),
  ]);
}, 120_000);
afterAll(() => cluster.stop());

/** Creates one as a client would: a 503 is tried again, under the same idempotency key. */
async function create(seed: number): Promise<string> {
  const headers = { "idempotency-key": `seed-${seed}` };
  const until = Date.now() + RECOVERY_MS;
  for (;;) {
    const response = await request(cluster, "/v1/predictions", { input: input(seed) }, { headers });
    const body = (await response.json()) as { id: string };
    if (response.ok) return body.id;
    if (response.status !== 503 || Date.now() > until) throw new Error(`create answered ${response.status}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function bytesOf(id: string): Promise<string> {
  const { output } = await getPrediction(cluster, id);
  const image = await fetch(output?.[0] ?? "");
  return Buffer.from(await image.arrayBuffer()).toString("base64");
}

it("keeps streams with three replicas through the loss of one server, and then of another", async () => {
  const undisturbed = await bytesOf(await finished(await createPrediction(cluster, input(1))));

  const predictions = upTo(50).map((seed) => create(seed));
  // Of the fifty some are done, some run, most wait.
  await finished({ id: (await predictions[4]) ?? "" });
  const first = await cluster.leaderOf(STREAMS.jobs);
  await cluster.killNode(first);
  await finished({ id: (await predictions[20]) ?? "" });
  await cluster.startNode(first);
  await expect.poll(() => cluster.isWhole(), { timeout: RECOVERY_MS }).toBe(true);
  const second = await cluster.leaderOf(STREAMS.events);
  await cluster.killNode(second === first ? (first + 1) % 3 : second);

  const ids = await Promise.all(predictions);
  const events = await Promise.all(ids.map((id) => allEvents(cluster, id)));
  for (const [index, list] of events.entries()) {
    expect(
      list.filter(({ event }) => event === "output"),
      `prediction ${index}`,
    ).toHaveLength(1);
    expect(
      list.filter(({ event }) => event === "done"),
      `prediction ${index}`,
    ).toHaveLength(1);
    expect(stepNumbers(list), `prediction ${index}`).toEqual(upTo(STEPS));
  }
  expect(new Set(ids).size).toBe(50);
  const ended = await Promise.all(ids.map((id) => getPrediction(cluster, id)));
  expect(ended.map(({ status }) => status)).toEqual(ids.map(() => "succeeded"));
  expect(await bytesOf(ids[0] ?? "")).toBe(undisturbed);

  await Promise.all([0, 1, 2].map((index) => cluster.startNode(index)));
  await expect.poll(() => cluster.isWhole(), { timeout: RECOVERY_MS }).toBe(true);
  // Nothing of them is left in the queue.
  const queued = async (): Promise<number | undefined> => (await cluster.streams())[0]?.state.messages;
  await expect.poll(queued, { timeout: RECOVERY_MS }).toBe(0);
}, 240_000);

it("answers 503 while one server is left, and serves again by itself", async () => {
  await Promise.all([cluster.killNode(1), cluster.killNode(2)]);
  const status = async (): Promise<number> => (await request(cluster, "/healthz")).status;
  await expect.poll(status, { timeout: RECOVERY_MS }).toBe(503);
  const refused = await request(cluster, "/v1/predictions", { input: input(1) });
  expect(refused.status).toBe(503);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  await Promise.all([cluster.startNode(1), cluster.startNode(2)]);
  await expect.poll(status, { timeout: RECOVERY_MS }).toBe(200);
  const id = await create(60);
  await finished({ id });
  expect((await getPrediction(cluster, id)).status).toBe("succeeded");
}, 240_000);

async function finished({ id }: { id: string }): Promise<string> {
  await allEvents(cluster, id);
  return id;
}
