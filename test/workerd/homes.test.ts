// Where owners are at home, and that raising the number of hubs moves none of them.

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { expect, it } from "vitest";
import { preferredShard } from "../../edge/prediction/shards.ts";
import { Hubs } from "../../edge/service/hubs.ts";
import { unwrap } from "../../edge/prediction/hub-result.ts";
import { newJob, newPrediction } from "./support.ts";

/** Edges that have been told of so many hubs, and remember nothing. */
function edge(shards: number): Hubs {
  const { HUB } = env;
  return new Hubs(
    { get: HUB.get.bind(HUB), idFromName: HUB.idFromName.bind(HUB) } as unknown as typeof HUB,
    shards,
  );
}
const homeOf = async (owner: string, shards: number): Promise<number> => (await edge(shards).of(owner)).home;
async function create(owner: string, shard: number): Promise<void> {
  unwrap(
    await edge(5)
      .ofShard(shard)
      .create(newPrediction(newJob(shard, 1), owner)),
  );
}
/** An owner whom the hash sends to `shard` of four. */
function ownerOf(shard: number, kind: string): string {
  for (let i = 0; ; i++) if (preferredShard(`${kind}-${i}`, 4) === shard) return `${kind}-${i}`;
}

it("has everybody in the only hub, and leaves them there when there are more", async () => {
  const early = ownerOf(2, "early");
  expect(await homeOf(early, 1)).toBe(0);
  await create(early, 0);
  expect(await homeOf(early, 4)).toBe(0);
  expect(await homeOf(early, 5)).toBe(0);
});

it("spreads new owners, each for good", async () => {
  for (const shard of [0, 1, 2, 3]) {
    const owner = ownerOf(shard, "new");
    expect(await homeOf(owner, 4)).toBe(shard);
    expect(await homeOf(owner, 5)).toBe(shard);
  }
});

it("finds those of releases without a directory where they are", async () => {
  const [moved, stayed, secretive] = [ownerOf(3, "moved"), ownerOf(1, "stayed"), ownerOf(3, "secretive")];
  const spent = ownerOf(3, "spent");
  await create(moved, 2);
  await create(stayed, 2);
  await create(stayed, 1);
  unwrap(await edge(5).ofShard(2).webhookSecret(secretive, { keyId: "0123456789ab", requestId: "r" }));
  // All that is left of one is a line of its usage.
  await runInDurableObject(edge(5).ofShard(2), (_, { storage }) =>
    storage.sql.exec(
      `INSERT INTO usage_lines (prediction_id, key_name, model, version, status, created_at, completed_at, images, steps, gpu_ms)
       VALUES ('p', ?, 'm', 'v', 'succeeded', 1, 2, 1, 1, 1)`,
      spent,
    ),
  );
  await runInDurableObject(edge(5).ofShard(0), (_, { storage }) => {
    storage.sql.exec("DELETE FROM homes");
    storage.sql.exec("DELETE FROM meta WHERE key = 'homes_created_for'");
  });
  // Twice at once: the second waits for the first to have looked.
  const homes = [homeOf(moved, 4), homeOf(stayed, 4), homeOf(secretive, 4), homeOf(spent, 4)];
  expect(await Promise.all(homes)).toEqual([2, 1, 2, 2]);
});

it("keeps those whom an edge that knows of one hub only has just put there", async () => {
  const late = ownerOf(1, "late");
  await create(late, 0);
  expect(await homeOf(late, 4)).toBe(0);
});
