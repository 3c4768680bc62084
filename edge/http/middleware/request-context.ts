// Around every request: its id, its log line, the headers that every answer has.

import { type Span, SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { traceparentOf } from "@vqd/shared/headers.ts";
import { createMiddleware } from "hono/factory";
import { routePath } from "hono/route";
import type { AppContext, AppEnv } from "../context.ts";
import { configOf } from "../../config.ts";
import { consoleLogger } from "../../telemetry/log.ts";
import { answerOf, type ErrorDialect } from "../problem.ts";
import { tracingOf } from "../../telemetry/tracing.ts";
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
  "x-ratelimit-limit-requests",
  "x-ratelimit-remaining-requests",
  "x-ratelimit-reset-requests",
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

/** A span for a request, under its sender's if it names one. The path is told as its pattern: others hold secrets. */
function startSpan(c: AppContext, requestId: string): Span {
  return tracingOf(c.env).start(c.req.method, {
    kind: SpanKind.SERVER,
    parent: c.req.header("traceparent"),
    attributes: { "http.request.method": c.req.method, "vqd.request_id": requestId },
  });
}

function endSpan(c: AppContext, span: Span): void {
  const route = routePath(c, -1);
  const { status } = c.res;
  span.updateName(`${c.req.method} ${route}`);
  span.setAttributes({ "http.route": route, "http.response.status_code": status });
  if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
  span.end();
  c.executionCtx.waitUntil(tracingOf(c.env).flush(c.get("log")));
}

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
  const span = path.startsWith("/v1/") ? startSpan(c, requestId) : undefined;
  c.set("traceparent", span === undefined ? undefined : traceparentOf(span.spanContext()));
  await next();
  if (span !== undefined) endSpan(c, span);
  c.header("x-request-id", requestId);
  allowOrigin(c, config.corsOrigins);
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
    // A page says for itself what it may load.
    if (!c.res.headers.has(name)) c.header(name, value);
  }
  const fields = { method, path: loggedPath(path), status: c.res.status, ms: Date.now() - startedAt };
  // Health is asked for every second or so.
  if (path === "/healthz" || path === "/metrics") log.debug("request", fields);
  else log.info("request", fields);
});
