// The audit log: what keys have done that concerns others, by whom, and for how long it is kept.

import { describe, expect, it } from "vitest";
import { auditSchema } from "../../edge/api-docs/audit.ts";
import { newRow } from "../../edge/hub/storage/prediction-row.ts";
import { keyIdOf } from "../../shared/api-key.ts";
import { hashOf, ownerOf, storeKey } from "./stored-key.ts";
import { end, inStoreOf } from "./stored.ts";
import { call, hubs, newJob, newPrediction, ORIGIN } from "./support.ts";

const DAY_MS = 86_400_000;

const audit = async (key: string, query = "") => {
  const response = await call(`/v1/audit${query}`, { key });
  expect(response.status).toBe(200);
  return auditSchema.parse(await response.json());
};
const idOf = async (key: string): Promise<string> => keyIdOf(await hashOf(key));
const send = async (key: string, method: string, path: string, status: number): Promise<string> => {
  const response = await call(path, { method, key });
  expect([path, response.status]).toEqual([path, status]);
  await response.body?.cancel();
  return response.headers.get("x-request-id") ?? "";
};

/** A prediction of the key, without a worker. */
async function make(key: string): Promise<string> {
  const owner = ownerOf(key);
  const shard = (await hubs.of(owner)).home;
  const job = newJob(shard, 3);
  const prediction = { ...newPrediction(job, owner), keyId: await idOf(key) };
  await inStoreOf(shard)((store) => store.insert(newRow(job, prediction)));
  return job.id;
}

describe("the audit log", () => {
  it("says who has undone the work of another key, shared predictions, and had the secret", async () => {
    const ann = await storeKey();
    const [same, other, reader] = [
      await storeKey({ name: ownerOf(ann) }),
      await storeKey(),
      await storeKey({ name: ownerOf(ann), scopes: ["read"] }),
    ];
    const [first, second, third] = [await make(ann), await make(ann), await make(ann)];
    const wanted: [string, string, string | null, string][] = [];
    const note = async (action: string, object: string | null, key: string, request: Promise<string>) =>
      void wanted.unshift([action, object ?? "", await idOf(key), await request]);

    await note(
      "prediction.canceled",
      first,
      same,
      send(same, "POST", `/v1/predictions/${first}/cancel`, 200),
    );
    // It has ended; and what a key has made itself is its own.
    await send(same, "POST", `/v1/predictions/${first}/cancel`, 200);
    await send(ann, "POST", `/v1/predictions/${second}/cancel`, 200);
    await send(ann, "DELETE", `/v1/predictions/${second}`, 204);
    await note("prediction.deleted", first, same, send(same, "DELETE", `/v1/predictions/${first}`, 204));
    await note("prediction.shared", third, ann, send(ann, "POST", `/v1/predictions/${third}/share`, 200));
    await send(ann, "POST", `/v1/predictions/${third}/share`, 200);
    await note(
      "prediction.unshared",
      third,
      same,
      send(same, "DELETE", `/v1/predictions/${third}/share`, 204),
    );
    await send(ann, "DELETE", `/v1/predictions/${third}/share`, 204);
    await note("webhook_secret.read", null, ann, send(ann, "GET", "/v1/webhooks/default/secret", 200));
    await note(
      "webhook_secret.rotated",
      null,
      same,
      send(same, "POST", "/v1/webhooks/default/secret/rotate", 200),
    );
    // What is refused has not been done.
    await send(other, "POST", `/v1/predictions/${third}/cancel`, 404);
    await send(reader, "GET", "/v1/webhooks/default/secret", 403);
    await send(ann, "DELETE", `/v1/predictions/${third}`, 204);

    const { data, next } = await audit(same);
    expect(
      data.map(({ action, object, key, request_id }) => [action, object ?? "", key, request_id]),
    ).toEqual(wanted);
    expect(next).toBeNull();
    expect((await audit(other)).data).toEqual([]);
    expect((await call("/v1/audit", { key: reader })).status).toBe(403);

    const pages: unknown[] = [];
    for (let query: string | null = "?limit=4"; query !== null;) {
      const page = await audit(ann, query);
      pages.push(...page.data);
      query = page.next?.replace(`${ORIGIN}/v1/audit`, "") ?? null;
    }
    expect(pages).toEqual(data);
    for (const [query, path] of [
      ["cursor=x", "cursor"],
      ["limit=101", "limit"],
    ]) {
      const refused = await call(`/v1/audit?${query}`, { key: ann });
      expect(refused.status).toBe(422);
      expect(await refused.json()).toMatchObject({ errors: [{ path }] });
    }
  });

  it("keeps entries for as long as is set, and so many of an owner at most", async () => {
    await inStoreOf(23)((store, sql) => {
      const by = { keyId: "0123456789ab", requestId: "r" };
      const page = (owner: string, since = 0) =>
        store.audit.page(owner, { before: null, limit: 20_000 }, since);
      for (let i = 0; i < 10_010; i++) store.audit.note("busy", "webhook_secret.read", null, by);
      store.audit.note("quiet", "webhook_secret.rotated", null, by);
      expect(page("busy").map(({ seq }) => seq)).toEqual(
        Array.from({ length: 10_000 }, (_, i) => 10_010 - i),
      );
      const now = Date.now();
      sql.exec("UPDATE audit SET at = ? WHERE key_name = 'busy' AND seq <= 10005", now - 2 * DAY_MS);
      // Not shown from then on, and deleted with the next day.
      expect(page("busy", now - DAY_MS)).toHaveLength(5);
      store.audit.expire(now, now - DAY_MS);
      expect(page("busy")).toHaveLength(5);
      expect(page("quiet")).toHaveLength(1);
    });
  });

  it("says nothing of predictions of which it is not known who has made them", async () => {
    const key = await storeKey();
    const id = await make(key);
    const shard = (await hubs.of(ownerOf(key))).home;
    await inStoreOf(shard)((store, sql) => {
      sql.exec("UPDATE predictions SET key_id = '' WHERE id = ?", id);
      end(store, id);
    });
    await send(key, "DELETE", `/v1/predictions/${id}`, 204);
    expect((await audit(key)).data).toEqual([]);
  });
});
