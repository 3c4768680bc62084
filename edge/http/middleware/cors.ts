// CORS preflight requests: pages call the API with a key, never with cookies.

import { createMiddleware } from "hono/factory";
import type { AppEnv } from "../context.ts";

const PREFLIGHT_AGE_SECONDS = 86_400;
const HEADER_LIST = /^[\w\s,-]{0,2000}$/;

export const preflight = createMiddleware<AppEnv>(async (c, next) => {
  if (c.req.method !== "OPTIONS" || c.req.header("access-control-request-method") === undefined)
    return next();
  const wanted = c.req.header("access-control-request-headers") ?? "";
  return c.body(null, 204, {
    "access-control-allow-methods": "GET, HEAD, QUERY, POST, PUT, DELETE, OPTIONS",
    // A wildcard would not cover Authorization.
    "access-control-allow-headers":
      HEADER_LIST.test(wanted) && wanted !== "" ? wanted : "authorization, content-type",
    "access-control-max-age": String(PREFLIGHT_AGE_SECONDS),
    vary: "access-control-request-headers",
  });
});
