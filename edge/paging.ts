// Pages of a list: opaque cursors that name a place in the order, so that a page never shifts under its reader.

import { isPredictionId } from "@vqd/shared/ids.ts";
import type { Page, PageQuery, PredictionRecord } from "./hub/records.ts";
import { invalidInput } from "./validation.ts";

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 100;

type Place = NonNullable<PageQuery["from"]>;

const DIRECTIONS = { o: "older", n: "newer" } as const;

/** The place beside a prediction, in the direction of the page. */
function encodeCursor(direction: keyof typeof DIRECTIONS, { createdAt, id }: PredictionRecord): string {
  return btoa(`${direction}.${createdAt}.${id}`).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function decodeCursor(cursor: string): Place | undefined {
  let text: string;
  try {
    text = atob(cursor.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return undefined;
  }
  const [, direction = "", createdAt = "", id = ""] = /^([on])\.(\d{1,15})\.(.+)$/s.exec(text) ?? [];
  if (!isPredictionId(id) || (direction !== "o" && direction !== "n")) return undefined;
  return { direction: DIRECTIONS[direction], createdAt: Number(createdAt), id };
}

/** What the query string asks for. Throws a VqdError (invalid_input). */
export function pageQuery(params: URLSearchParams): Pick<PageQuery, "from" | "limit"> {
  for (const name of params.keys()) {
    if (name !== "cursor" && name !== "limit")
      throw invalidInput([{ path: name, message: "is not a known field" }]);
  }
  const cursor = params.get("cursor");
  const from = cursor === null ? null : decodeCursor(cursor);
  if (from === undefined)
    throw invalidInput([{ path: "cursor", message: "is none that this list has given" }]);
  const text = params.get("limit");
  const limit = text === null ? DEFAULT_LIMIT : Number(text);
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    throw invalidInput([{ path: "limit", message: `must be an integer from 1 to ${MAX_LIMIT}` }]);
  }
  return { from, limit };
}

/** URLs of the pages beside this one; null where there is none. */
export function pageLinks(
  { records, hasNewer, hasOlder }: Page,
  url: string,
  limit: number,
): { next: string | null; previous: string | null } {
  const link = (direction: keyof typeof DIRECTIONS, edge: PredictionRecord | undefined): string | null => {
    if (edge === undefined) return null;
    const query = new URLSearchParams({ cursor: encodeCursor(direction, edge) });
    if (limit !== DEFAULT_LIMIT) query.set("limit", String(limit));
    return `${url}?${query.toString()}`;
  };
  return {
    next: hasOlder ? link("o", records.at(-1)) : null,
    previous: hasNewer ? link("n", records[0]) : null,
  };
}
