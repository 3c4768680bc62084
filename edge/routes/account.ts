// The account resource, in Replicate's format: whose key a request has.

import type { AppContext } from "../http/context.ts";

/** `GET /v1/account`, with a key of any scope. */
export function getAccount(c: AppContext): Response {
  const name = c.get("keyName");
  return c.json({ type: "user", username: name, name });
}
