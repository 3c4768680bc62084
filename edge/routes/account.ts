// The account resource, in Replicate's format: whose key a request has, and what that may do.

import type { AppContext } from "../http/context.ts";

/** `GET /v1/account`, with a key of any scope. */
export function getAccount(c: AppContext): Response {
  const name = c.get("keyName");
  const { scopes, priority, perMinute, live, expiresAt } = c.get("apiKey");
  const { rateLimits } = c.get("config");
  c.header("cache-control", "no-store");
  return c.json({
    type: "user",
    username: name,
    name,
    key: {
      scopes,
      priority,
      limits: { per_minute: perMinute ?? rateLimits.perMinute, live: live ?? rateLimits.live },
      expires_at: expiresAt === null ? null : new Date(expiresAt).toISOString(),
    },
  });
}
