// Wraps every request: its id, its log line and span, and the headers of every response.

import { type Span, SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { traceparentOf } from "@vqd/shared/headers.ts";
import { createMiddleware } from "hono/factory";
import type { AppContext, AppEnv } from "../context.ts";
import { configOf } from "../../config.ts";
import { consoleLogger } from "../../telemetry/log.ts";
import { Hubs } from "../../service/hubs.ts";
import { answerOf } from "../error-answer.ts";
import { IGNORED_HEADER } from "../ignored.ts";
import { type Tracing, tracingOf } from "../../telemetry/tracing.ts";
import { VqdError } from "@vqd/shared/errors.ts";

/** Request ids accepted from clients; anything else is replaced. */
const REQUEST_ID = /^[\w.:-]{1,100}$/;

const SECURITY_HEADERS = {
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "x-frame-options": "DENY",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
} as const;

const EXPOSED_HEADERS = [
  "x-request-id",
  "x-prediction-id",
  "retry-after",
  "location",
  "preference-applied",
  "idempotent-replayed",
  "content-disposition",
  "x-should-retry",
  IGNORED_HEADER,
  "ratelimit",
  "ratelimit-policy",
  "x-ratelimit-limit-requests",
  "x-ratelimit-remaining-requests",
  "x-ratelimit-reset-requests",
].join(", ");

/** Lets a page of a permitted origin read the response. */
function allowOrigin(c: AppContext, origins: readonly string[]): void {
  const own = c.req.header("origin");
  const isOpen = origins.includes("*");
  if (!isOpen) c.header("vary", "origin", { append: true });
  if (!isOpen && (own === undefined || !origins.includes(own))) return;
  c.header("access-control-allow-origin", isOpen ? "*" : own);
  c.header("access-control-expose-headers", EXPOSED_HEADERS);
}

/** The path, without the capability it may contain. */
function loggedPath(c: AppContext): string {
  const { path, secret } = c.get("route");
  return secret === true ? path.replace(":id", c.req.param("id") ?? ":id") : c.req.path;
}

/** The request's span, a child of the caller's if there is one. It is named after the route, since paths contain secrets. */
function startSpan(c: AppContext, tracing: Tracing): Span {
  return tracing.start(`${c.req.method} ${c.get("route").path}`, {
    kind: SpanKind.SERVER,
    parent: c.req.header("traceparent"),
    attributes: {
      "http.request.method": c.req.method,
      "http.route": c.get("route").path,
      "vqd.request_id": c.get("requestId"),
    },
  });
}

function endSpan(c: AppContext, tracing: Tracing, span: Span): void {
  // A span that never ends is never exported: without a valid key nobody makes the service send anything.
  if (c.get("apiKey") === undefined) return;
  const { status } = c.res;
  span.setAttribute("http.response.status_code", status);
  if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
  span.end();
  c.executionCtx.waitUntil(tracing.flush(c.get("log")));
}

/** Sets the context except for the key. `route` must be set before: it decides how even invalid settings are reported. */
export const requestContext = createMiddleware<AppEnv>(async (c, next) => {
  const startedAt = Date.now();
  const given = c.req.header("x-request-id");
  const requestId = given !== undefined && REQUEST_ID.test(given) ? given : crypto.randomUUID();
  const { method } = c.req;
  const route = c.get("route");
  c.set("requestId", requestId);
  let config;
  try {
    config = configOf(c.env);
  } catch (error) {
    if (!(error instanceof VqdError)) throw error;
    consoleLogger("info").error(error.message, { requestId });
    const { status, headers, body } = answerOf(error, route.errors, requestId);
    return c.body(body, status, { ...headers, "x-request-id": requestId });
  }
  c.set("config", config);
  c.set("hubs", new Hubs(c.env.HUB, config.hubShards, { location: config.hubLocation }));
  const log = consoleLogger(config.logLevel).with({ part: "edge", requestId });
  c.set("log", log);
  const tracing = tracingOf(config);
  const span = route.path.startsWith("/v1/") ? startSpan(c, tracing) : undefined;
  c.set("traceparent", span === undefined ? undefined : traceparentOf(span.spanContext()));
  await next();
  if (span !== undefined) endSpan(c, tracing, span);
  c.header("x-request-id", requestId);
  allowOrigin(c, config.corsOrigins);
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
    // Pages set their own policy.
    if (!c.res.headers.has(name)) c.header(name, value);
  }
  log[route.quiet === true ? "debug" : "info"]("request", {
    method,
    path: loggedPath(c),
    status: c.res.status,
    ms: Date.now() - startedAt,
  });
});
