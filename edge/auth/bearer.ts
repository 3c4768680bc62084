// Bearer authentication, and the check of the key's scopes.

import type { Scope } from "@vqd/shared/api-key.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import type { MiddlewareHandler } from "hono";
import { createMiddleware } from "hono/factory";
import type { AppEnv } from "../http/context.ts";
import { findKey } from "./keys.ts";

const HOW_TO = "send `Authorization: Bearer <key>`";

/** Admits requests that have a valid key with the scope, or with any; sets `keyName` and `apiKey`. */
export const requireKey = (scope: Scope | "any"): MiddlewareHandler<AppEnv> =>
  createMiddleware<AppEnv>(async (c, next) => {
    const header = c.req.header("authorization");
    // Older Replicate clients send Token.
    const [, key] = /^(?:Bearer|Token) +(\S+)$/i.exec(header?.trim() ?? "") ?? [];
    const found = await findKey(c.env, c.get("config"), key ?? "");
    if (header === undefined) throw new VqdError("unauthorized", `an API key is required: ${HOW_TO}`);
    if (key === undefined) {
      throw new VqdError("unauthorized", `the Authorization header is malformed: ${HOW_TO}`);
    }
    if (found === null) throw new VqdError("unauthorized", "the API key is invalid");
    if (scope !== "any" && !found.scopes.includes(scope)) {
      throw new VqdError("forbidden", `the API key lacks the scope ${JSON.stringify(scope)}`);
    }
    c.set("keyName", found.name);
    c.set("hubs", await c.get("hubs").of(found.name));
    c.set("apiKey", found);
    return next();
  });
