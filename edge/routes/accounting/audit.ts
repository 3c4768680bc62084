// The audit log of the key's owner.

import { invalidInput } from "../../http/body/validation.ts";
import type { AppContext } from "../../http/context.ts";
import { originOf } from "../../http/urls.ts";
import type { Actor } from "../../prediction/accounting/audit.ts";
import { unwrap } from "../../prediction/hub-result.ts";
import { limitOf } from "./limit.ts";

export const MAX_ENTRIES = 100;

/** Who makes the request. */
export const actorOf = (c: AppContext): Actor => ({
  keyId: c.get("apiKey").id,
  requestId: c.get("requestId"),
});

/** The number of the entry before which a page ends, from the one before. Throws a VqdError (invalid_input). */
function placeOf(c: AppContext): number | null {
  const text = c.req.query("cursor") ?? "";
  if (text === "") return null;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw invalidInput([{ path: "cursor", message: "was not issued by this list" }]);
}

/** `GET /v1/audit`: newest first. */
export async function getAudit(c: AppContext): Promise<Response> {
  const keyName = c.get("keyName");
  const limit = limitOf(c, MAX_ENTRIES, MAX_ENTRIES);
  // One more tells whether there is a next page.
  const query = { before: placeOf(c), limit: limit + 1 };
  const found = unwrap(await c.get("hubs").own.audit(keyName, query));
  const entries = found.slice(0, limit);
  const url = new URL(c.req.url);
  url.searchParams.set("cursor", String(entries.at(-1)?.seq ?? 0));
  const next = `${originOf(c.get("config"), c.req.url)}${url.pathname}${url.search}`;
  c.header("cache-control", "no-store");
  return c.json({
    object: "list",
    data: entries.map(({ at, keyId, action, object, requestId }) => ({
      at: new Date(at).toISOString(),
      key: keyId,
      action,
      object,
      request_id: requestId,
    })),
    next: found.length > limit ? next : null,
  });
}
