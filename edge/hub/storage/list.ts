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

/** Bytes of input in a page: a hundred predictions with prompts of an ordinary length fit. */
const MAX_INPUT_BYTES = 256 * 1024;

/** A page of an owner's predictions, without their logs, which can be long, and how many bytes of input it holds. */
export function listPredictions(
  store: PredictionStore,
  keyName: string,
  query: ListQuery,
): { page: PredictionPage; bytes: number } {
  const { from } = query;
  const { rows, bytes, hasMore } = store.page(keyName, query, MAX_INPUT_BYTES);
  const isNewer = from?.towards === "newer";
  if (isNewer) rows.reverse();
  const [first] = rows;
  const last = rows.at(-1);
  const previous = first !== undefined && (isNewer ? hasMore : from !== null);
  const next = last !== undefined && (isNewer || hasMore);
  const page = {
    records: rows.map((row) => Object.assign(row, { logs: "", queue: queuePlace(store, row) })),
    previous: previous ? placeOf(first, "newer") : null,
    next: next ? placeOf(last, "older") : null,
  };
  return { page, bytes };
}
