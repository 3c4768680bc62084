// Pagination: the query for a page, and the cursors that lead to its neighbours.

import type { AppContext } from "./context.ts";
import type { ListPlace, ListQuery, PredictionFilter, PredictionQuery } from "../prediction/records.ts";
import { PREDICTION_STATUSES } from "../prediction/statuses.ts";
import { invalidInput } from "./body/validation.ts";
import { originOf } from "./urls.ts";
import { PREDICTION_ID_PATTERN } from "@vqd/shared/ids.ts";
import { modelNameSchema } from "@vqd/shared/model.ts";

const MAX_LIMIT = 100;

/** Opaque to clients: direction, and time and id of the prediction at the edge of the page. */
const encodeCursor = ({ towards, createdAt, id }: ListPlace): string =>
  btoa(`${towards}:${createdAt}:${id}`).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

function decodeCursor(cursor: string): ListPlace {
  let text = "";
  try {
    text = atob(cursor.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    // Rejected below.
  }
  const [, towards, createdAt, id] = /^(older|newer):(\d{1,15}):(\w+)$/.exec(text) ?? [];
  if (id === undefined || !PREDICTION_ID_PATTERN.test(id)) {
    throw invalidInput([{ path: "cursor", message: "was not issued by this list" }]);
  }
  return { towards: towards === "newer" ? "newer" : "older", createdAt: Number(createdAt), id };
}

function timeParameter(c: AppContext, name: string): number | null {
  const text = c.req.query(name);
  if (text === undefined || text === "") return null;
  const ms = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms)) throw invalidInput([{ path: name, message: "must be an ISO 8601 date and time" }]);
  return ms;
}

/** Reads `cursor`, `limit` (1 to 100), `created_after` and `created_before`. Throws a VqdError (invalid_input). */
export function listQuery(c: AppContext): ListQuery {
  const cursor = c.req.query("cursor");
  const limit = c.req.query("limit");
  if (limit !== undefined && !(/^\d{1,3}$/.test(limit) && Number(limit) >= 1 && Number(limit) <= MAX_LIMIT)) {
    throw invalidInput([{ path: "limit", message: `must be an integer from 1 to ${MAX_LIMIT}` }]);
  }
  return {
    limit: limit === undefined ? MAX_LIMIT : Number(limit),
    from: cursor === undefined || cursor === "" ? null : decodeCursor(cursor),
    createdAfter: timeParameter(c, "created_after"),
    createdBefore: timeParameter(c, "created_before"),
  };
}

/** A part of an id of the service's, or of a caller's own. */
const ID_PART_PATTERN = /^[\w.-]{1,100}$/;

/** Reads `status`, `model` and `id` too, where empty ones are none. Throws a VqdError (invalid_input). */
export function predictionQuery(c: AppContext): PredictionQuery {
  const [status = null, model = null, id = null] = ["status", "model", "id"].map(
    (name) => c.req.query(name) || null,
  );
  const known = PREDICTION_STATUSES.find((each) => each === status) ?? null;
  const complaints = [
    ...(status === known
      ? []
      : [{ path: "status", message: `must be one of ${PREDICTION_STATUSES.join(", ")}` }]),
    ...(model === null || modelNameSchema.safeParse(model).success
      ? []
      : [{ path: "model", message: "must look like owner/name" }]),
    ...(id === null || ID_PART_PATTERN.test(id)
      ? []
      : [{ path: "id", message: "must be up to 100 letters, digits, dots, underscores and hyphens" }]),
  ];
  if (complaints.length > 0) throw invalidInput(complaints);
  const only: PredictionFilter | undefined =
    known === null && model === null && id === null ? undefined : { status: known, model, id };
  return { ...listQuery(c), only };
}

interface Page {
  readonly previous: ListPlace | null;
  readonly next: ListPlace | null;
}

/** The answer to a request for a page of a list, whose views are `results`. */
export function listAnswer(c: AppContext, page: Page, results: readonly object[]): Response {
  const origin = originOf(c.get("config"), c.req.url);
  c.header("cache-control", "no-store");
  return c.json({
    previous: pageUrl(c, origin, page.previous),
    next: pageUrl(c, origin, page.next),
    results,
  });
}

/** URL of the same list from `place` on; null for null. */
function pageUrl(c: AppContext, origin: string, place: ListPlace | null): string | null {
  if (place === null) return null;
  const url = new URL(c.req.url);
  url.searchParams.set("cursor", encodeCursor(place));
  return `${origin}${url.pathname}${url.search}`;
}
