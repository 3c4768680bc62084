// Pages of a list of an owner's things, newest first, in either direction from a place in it.

import type { ListPlace, ListQuery } from "../../prediction/records.ts";

/** The conditions and the order of a query for the page, nearest to `from` first, and the values of their parameters. */
export function pageClause(
  keyName: string,
  { from, createdAfter, createdBefore }: ListQuery,
): { clause: string; values: SqlStorageValue[] } {
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
  return { clause: `${conditions.join(" AND ")} ORDER BY ${order}`, values };
}

interface Listed {
  readonly id: string;
  readonly createdAt: number;
}

/** The page of `rows`, as they were found; `hasMore` if there are others beyond them. */
export function toPage<T extends Listed>(
  rows: T[],
  { from }: ListQuery,
  hasMore: boolean,
): { items: T[]; previous: ListPlace | null; next: ListPlace | null } {
  const isNewer = from?.towards === "newer";
  const items = isNewer ? rows.toReversed() : rows;
  const place = ({ createdAt, id }: Listed, towards: ListPlace["towards"]): ListPlace => ({
    towards,
    createdAt,
    id,
  });
  const [first] = items;
  const last = items.at(-1);
  const hasPrevious = first !== undefined && (isNewer ? hasMore : from !== null);
  const hasNext = last !== undefined && (isNewer || hasMore);
  return {
    items,
    previous: hasPrevious ? place(first, "newer") : null,
    next: hasNext ? place(last, "older") : null,
  };
}
