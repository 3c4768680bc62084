// What a hub asks with every event does not depend on how much it stores: SQLite answers it from indices.

import { runInDurableObject } from "cloudflare:test";
import { expect, it } from "vitest";
import { PredictionStore } from "../../edge/hub/storage/store.ts";
import { hubs } from "./support.ts";

const OF = { version: "v", rank: 1 };
const PAGE = { limit: 10, createdAfter: null, createdBefore: null };
const PLACE = { towards: "older", createdAt: 9, id: "0".repeat(26) } as const;
const FILTER = { status: "failed", model: "a/b", id: "0" } as const;
const BOUNDS = { maxBytes: 1_000, lookedThrough: 10 };

it.each<[string, (store: PredictionStore) => unknown, RegExp]>([
  ["when the alarm is due", (store) => store.oldestEnds(), /USING (COVERING )?INDEX/],
  ["the next deadline", (store) => store.nextDeadline(), /USING INDEX predictions_live/],
  ["how many are live", (store) => store.liveCount(), /USING COVERING INDEX/],
  ["the pace of a model", (store) => store.queue.secondsPerImageStep("v"), /USING COVERING INDEX/],
  ["what is in the queue", (store) => store.queue.dispatched(OF), /USING INDEX predictions_live/],
  ["what is running", (store) => store.queue.running("v"), /USING INDEX predictions_live/],
  ["what is held", (store) => store.queue.heldClasses(), /USING COVERING INDEX/],
  ["what an owner has live", (store) => store.queue.liveOf("a"), /USING INDEX predictions_live/],
  ["what an owner has reserved", (store) => store.usage.reservedBy("a"), /USING INDEX predictions_live_of/],
  [
    "what an owner has used",
    (store) => store.usage.byDay("a", { from: "2026-01-01", to: "2026-12-31" }),
    /usage_by_day USING PRIMARY KEY \(key_name=\? AND day>|usage_lines USING INTEGER PRIMARY KEY/,
  ],
  ["lines of usage", (store) => store.usage.lines(0, 10), /^SCAN usage_lines$|USING INTEGER PRIMARY KEY/],
  [
    "a page of the audit log",
    (store) => store.audit.page("a", { before: 7, limit: 10 }, 0),
    /audit USING PRIMARY KEY \(key_name=\? AND seq</,
  ],
  [
    "a page of predictions",
    (store) => store.page("a", { ...PAGE, from: null }, BOUNDS),
    /USING INDEX predictions_by_key \(key_name=\?\)/,
  ],
  [
    "a filtered page",
    (store) => store.page("a", { ...PAGE, from: PLACE, only: FILTER }, BOUNDS),
    /predictions_by_key \(key_name=\? AND \(?created_at/,
  ],
  ["the next webhook", (store) => store.webhooks.nextAt(), /USING COVERING INDEX/],
  ["archives that are due", (store) => store.archive.oldest(), /archive_\w+ USING COVERING INDEX/],
  [
    "a page of the archive",
    (store) => store.archive.partsOf("a", { ...PAGE, from: { towards: "older", createdAt: 5, id: "x" } }, 3),
    /USING INDEX archive_parts_by_key \(key_name=\? AND \(last_at,last_id\)[<>]/,
  ],
  [
    "what an owner's archive is made of",
    (store) => [...store.oldestOf("a")],
    /USING INDEX predictions_by_key/,
  ],
  ["what waits", (store) => store.contention.versions(), /USING COVERING INDEX/],
])("%s", async (_, ask, wanted) => {
  const plans = await runInDurableObject(hubs.ofShard(1), (__, state) => {
    const { sql } = state.storage;
    const found: string[] = [];
    const explaining = new Proxy(sql, {
      get: (target, property) =>
        property === "exec"
          ? (query: string, ...values: SqlStorageValue[]) => {
              const plan = target.exec<{ detail: string }>(`EXPLAIN QUERY PLAN ${query}`, ...values);
              found.push(...plan.toArray().map(({ detail }) => detail));
              return target.exec(query, ...values);
            }
          : (Reflect.get(target, property) as unknown),
    });
    const storage = new Proxy(state.storage, {
      get: (target, property) =>
        property === "sql" ? explaining : (Reflect.get(target, property) as unknown),
    });
    ask(new PredictionStore(storage));
    return found.filter((detail) => /predictions|deliveries|usage_|audit|archive/.test(detail));
  });
  expect(plans.length).toBeGreaterThan(0);
  for (const plan of plans) expect(plan).toMatch(wanted);
});
