// A hub's store, acted on directly: what a test stores, what workers say of it, and its end.

import { runInDurableObject } from "cloudflare:test";
import { endPrediction, ingest } from "../../edge/hub/events/ingest.ts";
import { PredictionStore } from "../../edge/hub/storage/store.ts";
import type { PredictionEvent } from "../../shared/events.ts";
import { hubs, type Said } from "./support.ts";

export const inStoreOf =
  (shard: number) =>
  <T>(work: (store: PredictionStore, sql: SqlStorage) => T): Promise<T> =>
    runInDurableObject(hubs.ofShard(shard), (_, { storage }) =>
      work(new PredictionStore(storage), storage.sql),
    );

/** An event of the prediction's first attempt takes effect. */
export function happen(store: PredictionStore, id: string, [said, attachment]: [Said, Uint8Array?]): void {
  const row = store.get(id);
  if (row === undefined) throw new Error("no such prediction");
  const event = { ...said, v: 1, attempt: 1, at: Date.now() } as PredictionEvent;
  store.atomically(() => ingest(store, row, event, attachment ?? new Uint8Array()));
}

export const end = (store: PredictionStore, id: string): void =>
  store.atomically(() => endPrediction(store, id, { status: "canceled", at: Date.now() }));
