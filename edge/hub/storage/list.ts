// Lists predictions, newest first, page by page in either direction.

import type { ListPlace, ListQuery, PredictionPage } from "../../prediction/records.ts";
import { queuePlace } from "../admission/queue-place.ts";
import type { PredictionRow } from "./prediction-row.ts";
import type { PredictionStore } from "./store.ts";

const placeOf = ({ createdAt, id }: PredictionRow, towards: ListPlace["towards"]): ListPlace => ({
  towards,
  createdAt,
  id,
});

/** A page of an owner's predictions, without their logs, which can be long. */
export function listPredictions(store: PredictionStore, keyName: string, query: ListQuery): PredictionPage {
  const { limit, from } = query;
  // Fetching one more than requested tells whether there is another page.
  const found = store.page(keyName, { ...query, limit: limit + 1 });
  const hasMore = found.length > limit;
  const isNewer = from?.towards === "newer";
  const rows = found.slice(0, limit);
  if (isNewer) rows.reverse();
  const [first] = rows;
  const last = rows.at(-1);
  const previous = first !== undefined && (isNewer ? hasMore : from !== null);
  const next = last !== undefined && (isNewer || hasMore);
  return {
    records: rows.map((row) => Object.assign(row, { logs: "", queue: queuePlace(store, row) })),
    previous: previous ? placeOf(first, "newer") : null,
    next: next ? placeOf(last, "older") : null,
  };
}
