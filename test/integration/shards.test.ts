// Raising HUB_SHARDS from 1 to 4 while predictions wait and run: no owner loses anything, and new owners are spread.

import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shardOfPrediction } from "@vqd/shared/ids.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startStack, type Stack } from "../../infra/stack/stack.ts";
import { type ApiClient, getPrediction, type PredictionBody, request, upTo } from "./support/client.ts";
import { TINY_MODEL } from "./support/stack.ts";

const OWNERS = upTo(6).map((n) => `early-${n}`);
const NEW_OWNERS = upTo(12).map((n) => `late-${n}`);
const EACH = 4;
const keyOf = (owner: string): string => `vqd_${owner}`;
/** With the key of the stack itself. */
const API_KEYS = [...OWNERS, ...NEW_OWNERS, "dev"]
  .map((owner) => `${owner}:${createHash("sha256").update(keyOf(owner)).digest("hex")}`)
  .join(",");

let data: string;
let stack: Stack;
const start = (shards: number): Promise<Stack> =>
  startStack({
    data,
    model: TINY_MODEL,
    apiKey: keyOf("dev"),
    edgeEnv: { API_KEYS, HUB_SHARDS: String(shards) },
  });
const client = (owner: string): ApiClient => ({ url: stack.url, apiKey: keyOf(owner) });

async function create(owner: string, n: number): Promise<PredictionBody> {
  const body = { input: { prompt: "a", seed: n, num_inference_steps: 50 } };
  const answer = await request(client(owner), "/v1/predictions", body, {
    headers: { "idempotency-key": `${owner}-${n}` },
  });
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()) as PredictionBody;
}
async function secretOf(owner: string): Promise<string> {
  const answer = await request(client(owner), "/v1/webhooks/default/secret");
  return ((await answer.json()) as { key: string }).key;
}
async function listOf(owner: string): Promise<string[]> {
  const answer = await request(client(owner), "/v1/predictions");
  return ((await answer.json()) as { results: { id: string }[] }).results.map(({ id }) => id).toSorted();
}

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "vqd-shards-"));
  stack = await start(1);
});
afterAll(async () => {
  await stack.stop();
  await rm(data, { recursive: true, force: true });
});

it("keeps lists, secrets, idempotency keys and what runs; only new owners get the new hubs", async () => {
  const made = new Map<string, string[]>();
  const secrets = new Map<string, string>();
  for (const owner of OWNERS) {
    const predictions = await Promise.all(upTo(EACH).map((n) => create(owner, n)));
    made.set(owner, predictions.map(({ id }) => id).toSorted());
    secrets.set(owner, await secretOf(owner));
  }
  const statuses = async (): Promise<Set<string>> => {
    const all = OWNERS.flatMap((owner) =>
      (made.get(owner) ?? []).map((id) => getPrediction(client(owner), id)),
    );
    return new Set((await Promise.all(all)).map(({ status }) => status));
  };
  expect([...(await statuses())]).toContain("starting");
  await stack.stop();
  stack = await start(4);

  for (const owner of OWNERS) {
    expect(await secretOf(owner)).toBe(secrets.get(owner));
    expect(await listOf(owner)).toEqual(made.get(owner));
    const again = await Promise.all(upTo(EACH).map((n) => create(owner, n)));
    expect(again.map(({ id }) => id).toSorted()).toEqual(made.get(owner));
    const one = await create(owner, EACH + 1);
    expect(shardOfPrediction(one.id)).toBe(0);
    made.set(owner, await listOf(owner));
  }
  const shards = await Promise.all(
    NEW_OWNERS.map(async (owner) => {
      const { id } = await create(owner, 1);
      expect(await listOf(owner)).toEqual([id]);
      return shardOfPrediction(id);
    }),
  );
  expect(new Set(shards).size).toBeGreaterThan(1);
  await expect.poll(statuses, { timeout: 60_000, interval: 500 }).toEqual(new Set(["succeeded"]));
});
