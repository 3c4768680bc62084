// Around every request: its id, its log line, the headers that every answer has.

import { createMiddleware } from "hono/factory";
import type { AppContext, AppEnv } from "../context.ts";
import { configOf } from "../env.ts";
import { consoleLogger } from "../log.ts";
import { answerOf, type ErrorDialect } from "../problem.ts";
import { VqdError } from "@vqd/shared/errors.ts";

/** What a client may choose as its request's id; anything else is replaced. */
const REQUEST_ID = /^[\w.:-]{1,100}$/;

const SECURITY_HEADERS = {
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "x-frame-options": "DENY",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
} as const;

const EXPOSED_HEADERS = [
  "x-request-id",
  "retry-after",
  "location",
  "preference-applied",
  "idempotent-replayed",
  "content-disposition",
  "x-should-retry",
  "ratelimit",
  "ratelimit-policy",
].join(", ");

/** Says to a page of a permitted origin that it may read the answer; says nothing to others. */
function allowOrigin(c: AppContext, origins: readonly string[]): void {
  const own = c.req.header("origin");
  const isOpen = origins.includes("*");
  if (!isOpen) c.header("vary", "origin", { append: true });
  if (!isOpen && (own === undefined || !origins.includes(own))) return;
  c.header("access-control-allow-origin", isOpen ? "*" : own);
  c.header("access-control-expose-headers", EXPOSED_HEADERS);
}

const PROBLEM_PATHS = /^\/v1\/(?:predictions|streams|files|webhooks)(?:\/|$)/;

function dialectOf(path: string): ErrorDialect {
  if (path.startsWith("/v1/images")) return "openai";
  // What both clients read, and what either may look for in vain.
  return path.startsWith("/v1/") && !PROBLEM_PATHS.test(path) ? "both" : "problem";
}

/** The path as it may be logged: capabilities are secrets. */
const loggedPath = (path: string): string =>
  path.replace(/^(\/v1\/files\/)[^/]*/, "$1*").replace(/^(\/v1\/streams\/[^/]*\/).*/, "$1*");

export const requestContext = createMiddleware<AppEnv>(async (c, next) => {
  const startedAt = Date.now();
  const given = c.req.header("x-request-id");
  const requestId = given !== undefined && REQUEST_ID.test(given) ? given : crypto.randomUUID();
  const { path, method } = c.req;
  const dialect = dialectOf(path);
  c.set("requestId", requestId);
  c.set("dialect", dialect);
  let config;
  try {
    config = configOf(c.env);
  } catch (error) {
    if (!(error instanceof VqdError)) throw error;
    consoleLogger("info").error(error.message, { requestId });
    const { status, headers, body } = answerOf(error, dialect, requestId);
    return c.body(body, status, { ...headers, "x-request-id": requestId });
  }
  const log = consoleLogger(config.logLevel).with({ part: "edge", requestId });
  c.set("log", log);
  await next();
  c.header("x-request-id", requestId);
  allowOrigin(c, config.corsOrigins);
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
    // A page says for itself what it may load.
    if (!c.res.headers.has(name)) c.header(name, value);
  }
  const fields = { method, path: loggedPath(path), status: c.res.status, ms: Date.now() - startedAt };
  // Health is asked for every second or so.
  if (path === "/healthz") log.debug("request", fields);
  else log.info("request", fields);
});
