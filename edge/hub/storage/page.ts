// Pages of a list of an owner's things, newest first, in either direction from a place in it.

import { OWN_ID_PREFIX } from "../../prediction/own-id.ts";
import type { ListPlace, ListQuery, PredictionFilter } from "../../prediction/records.ts";

/** The first and the last of all ids, for places beside a time. */
const [FIRST_ID, LAST_ID] = ["0".repeat(26), "z".repeat(26)];

/** The conditions and the order of a query for the page, nearest to `from` first, and the values of their parameters. */
export function pageClause(
  keyName: string,
  { from, createdAfter, createdBefore }: ListQuery,
): { conditions: string[]; order: string; values: SqlStorageValue[] } {
  const isNewer = from?.towards === "newer";
  const conditions = ["key_name = ?"];
  const values: SqlStorageValue[] = [keyName];
  if (from !== null) {
    conditions.push(`(created_at, id) ${isNewer ? ">" : "<"} (?, ?)`);
    values.push(from.createdAt, from.id);
  }
  if (createdAfter !== null) {
    conditions.push("created_at > ?");
    values.push(createdAfter);
  }
  if (createdBefore !== null) {
    conditions.push("created_at < ?");
    values.push(createdBefore);
  }
  const order = isNewer ? "created_at, id" : "created_at DESC, id DESC";
  return { conditions, order, values };
}

/** The conditions of a filter on predictions, as `p`, and the values of their parameters. */
export function filterClause({ status, model, id }: PredictionFilter): {
  conditions: string[];
  values: SqlStorageValue[];
} {
  const conditions: string[] = [];
  const values: SqlStorageValue[] = [];
  for (const [column, value] of [
    ["status", status],
    ["model", model],
  ] as const) {
    if (value === null) continue;
    conditions.push(`${column} = ?`);
    values.push(value);
  }
  if (id !== null) {
    const ownId = `substr(idempotency_key, ${OWN_ID_PREFIX.length + 1})`;
    conditions.push(
      `(instr(p.id, ?) > 0 OR (instr(idempotency_key, '${OWN_ID_PREFIX}') = 1 AND instr(lower(${ownId}), ?) > 0))`,
    );
    values.push(id.toLowerCase(), id.toLowerCase());
  }
  return { conditions, values };
}

export interface Listed {
  readonly id: string;
  readonly createdAt: number;
}

/** The page of `rows`, as they were found; `end` is the furthest that was looked at if there may be others beyond it. */
export function toPage<T extends Listed>(
  rows: T[],
  { from }: ListQuery,
  end: Listed | null,
): { items: T[]; previous: ListPlace | null; next: ListPlace | null } {
  const beyond = (at: Listed | null, towards: ListPlace["towards"]): ListPlace | null =>
    at === null ? null : { towards, createdAt: at.createdAt, id: at.id };
  const [nearest] = rows;
  if (from?.towards === "newer") {
    const back = nearest ?? { createdAt: from.createdAt, id: LAST_ID };
    return { items: rows.toReversed(), previous: beyond(end, "newer"), next: beyond(back, "older") };
  }
  // The way back from an empty page is to all of that time.
  const back = from === null ? null : (nearest ?? { createdAt: from.createdAt, id: FIRST_ID });
  return { items: rows, previous: beyond(back, "newer"), next: beyond(end, "older") };
}
