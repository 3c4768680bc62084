// A page of predictions, and how many bytes of input it holds.

import type { ListQuery, PredictionPage } from "../../prediction/records.ts";
import { queuePlace } from "../admission/queue-place.ts";
import { toPage } from "./page.ts";
import type { PredictionStore } from "./store.ts";

/** Bytes of input in a page: a hundred predictions with prompts of an ordinary length fit. */
const MAX_INPUT_BYTES = 256 * 1024;

/** A page of an owner's predictions, without their logs, which can be long, and how many bytes of input it holds. */
export function listPredictions(
  store: PredictionStore,
  keyName: string,
  query: ListQuery,
): { page: PredictionPage; bytes: number } {
  const { rows, bytes, hasMore } = store.page(keyName, query, MAX_INPUT_BYTES);
  const { items, previous, next } = toPage(rows, query, hasMore);
  const records = items.map((row) => Object.assign(row, { logs: "", queue: queuePlace(store, row) }));
  return { page: { records, previous, next }, bytes };
}
