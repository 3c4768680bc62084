// The HTTP app: its middleware, the table of routes, and the response to every error.

import { VqdError } from "@vqd/shared/errors.ts";
import { errorFields } from "@vqd/shared/log.ts";
import { Hono } from "hono";
import { fairShare } from "./fairness/fair-share.ts";
import type { AppEnv } from "./http/context.ts";
import { PROBLEMS } from "./http/problem.ts";
import type { Route } from "./http/route.ts";
import { huggingfaceRoutes } from "./huggingface/routes.ts";
import { PROBLEMS_AND_OPENAI_ERRORS } from "./openai/errors.ts";
import { openaiRoutes } from "./openai/routes.ts";
import { searchModels } from "./replicate/resources.ts";
import { replicateRoutes } from "./replicate/routes.ts";
import { RateRefusal } from "./prediction/rate-state.ts";
import { requireKey } from "./auth/bearer.ts";
import { preflight } from "./http/middleware/cors.ts";
import { requestContext } from "./http/middleware/request-context.ts";
import { answerOf } from "./http/error-answer.ts";
import { setRateHeaders } from "./http/rate-headers.ts";
import { getAccount } from "./routes/account.ts";
import { getFile } from "./routes/files.ts";
import { getMetrics } from "./routes/metrics.ts";
import { getClasses, getModel, getModels, getPalette, getVocabulary } from "./routes/models.ts";
import { getOpenApi } from "./routes/openapi.ts";
import { ASSET_FOLDERS, getAsset, getPage, getReference, missingPage } from "./routes/pages.ts";
import {
  cancelPrediction,
  createPrediction,
  deletePrediction,
  getPrediction,
  listPredictions,
} from "./routes/predictions.ts";
import { getReceipt, getReceiptKeys } from "./routes/receipts.ts";
import { getShared, getSharedFile, sharePrediction, unsharePrediction } from "./routes/shared.ts";
import { capabilityStream, predictionEvents } from "./routes/streams.ts";
import { getHealth, getQueue, getStatus } from "./routes/status.ts";
import { createFile, deleteUpload, getUpload, listFiles } from "./routes/uploads.ts";
import { getAudit } from "./routes/accounting/audit.ts";
import { exportUsage } from "./routes/accounting/export.ts";
import { getUsage } from "./routes/accounting/usage.ts";
import {
  getWebhookAttempts,
  getWebhookSecret,
  redeliverWebhook,
  rotateWebhookSecret,
  testWebhook,
} from "./routes/webhooks.ts";

/** Where several patterns match, the last one applies. Those without a handler set the error dialect of unknown paths. */
const ROUTES: readonly Route[] = [
  { path: "/*", errors: PROBLEMS },
  { path: "/v1/*", errors: PROBLEMS_AND_OPENAI_ERRORS },
  { path: "/v1/account", errors: PROBLEMS, scope: "any", get: getAccount },
  { path: "/v1/status", errors: PROBLEMS, open: true, quiet: true, get: getStatus },
  { path: "/v1/queue", errors: PROBLEMS, scope: "metrics", quiet: true, get: getQueue },
  { path: "/v1/audit", errors: PROBLEMS, scope: "admin", get: getAudit },
  { path: "/v1/usage", errors: PROBLEMS, get: getUsage },
  { path: "/v1/usage/export", errors: PROBLEMS, scope: "billing", get: exportUsage },
  { path: "/v1/predictions/*", errors: PROBLEMS },
  { path: "/v1/predictions", errors: PROBLEMS, get: listPredictions, post: createPrediction },
  {
    path: "/v1/predictions/:id",
    errors: PROBLEMS,
    get: getPrediction,
    put: createPrediction,
    delete: deletePrediction,
  },
  { path: "/v1/predictions/:id/cancel", errors: PROBLEMS, post: cancelPrediction },
  { path: "/v1/predictions/:id/events", errors: PROBLEMS, get: predictionEvents },
  { path: "/v1/predictions/:id/webhook-attempts", errors: PROBLEMS, get: getWebhookAttempts },
  { path: "/v1/predictions/:id/webhook-attempts/redeliver", errors: PROBLEMS, post: redeliverWebhook },
  { path: "/v1/predictions/:id/receipt", errors: PROBLEMS, get: getReceipt },
  {
    path: "/v1/predictions/:id/share",
    errors: PROBLEMS,
    post: sharePrediction,
    delete: unsharePrediction,
  },
  { path: "/v1/shared/*", errors: PROBLEMS, secret: true },
  { path: "/v1/shared/:id/:capability", errors: PROBLEMS, secret: true, open: true, get: getShared },
  {
    path: "/v1/shared/:id/:capability/:name",
    errors: PROBLEMS,
    secret: true,
    open: true,
    get: getSharedFile,
  },
  { path: "/v1/webhooks/*", errors: PROBLEMS },
  { path: "/v1/webhooks/default/secret", errors: PROBLEMS, scope: "admin", get: getWebhookSecret },
  {
    path: "/v1/webhooks/default/secret/rotate",
    errors: PROBLEMS,
    scope: "admin",
    post: rotateWebhookSecret,
  },
  // Whoever may create predictions may have webhooks sent.
  { path: "/v1/webhooks/default/test", errors: PROBLEMS, post: testWebhook },
  { path: "/v1/streams/*", errors: PROBLEMS, secret: true },
  { path: "/v1/streams/:id/:capability", errors: PROBLEMS, secret: true, open: true, get: capabilityStream },
  { path: "/v1/files/*", errors: PROBLEMS, secret: true },
  { path: "/v1/files", errors: PROBLEMS, get: listFiles, post: createFile },
  { path: "/v1/files/:file_id", errors: PROBLEMS, secret: true, get: getUpload, delete: deleteUpload },
  { path: "/v1/files/:capability/:name", errors: PROBLEMS, secret: true, open: true, get: getFile },
  ...openaiRoutes,
  { path: "/v1/models", errors: PROBLEMS_AND_OPENAI_ERRORS, get: getModels, query: searchModels },
  { path: "/v1/models/:id", errors: PROBLEMS_AND_OPENAI_ERRORS, get: getModel },
  { path: "/v1/models/:owner/:name", errors: PROBLEMS_AND_OPENAI_ERRORS, get: getModel },
  { path: "/v1/models/:owner/:name/predictions", errors: PROBLEMS, post: createPrediction },
  { path: "/v1/models/:owner/:name/palette", errors: PROBLEMS_AND_OPENAI_ERRORS, get: getPalette },
  {
    path: "/v1/models/:owner/:name/vocabulary",
    errors: PROBLEMS_AND_OPENAI_ERRORS,
    get: getVocabulary,
  },
  { path: "/v1/models/:owner/:name/classes", errors: PROBLEMS_AND_OPENAI_ERRORS, get: getClasses },
  ...replicateRoutes,
  { path: "/healthz", errors: PROBLEMS, open: true, quiet: true, get: getHealth },
  { path: "/metrics", errors: PROBLEMS, scope: "metrics", quiet: true, get: getMetrics },
  { path: "/.well-known/vqd-receipts.json", errors: PROBLEMS, open: true, get: getReceiptKeys },
  { path: "/openapi.json", errors: PROBLEMS, open: true, get: getOpenApi },
  ...huggingfaceRoutes,
  { path: "/docs", errors: PROBLEMS, open: true, get: getReference },
  { path: "/console", errors: PROBLEMS, open: true, get: getPage("console") },
  { path: "/status", errors: PROBLEMS, open: true, get: getPage("status") },
  ...ASSET_FOLDERS.map((folder): Route => ({
    path: `/${folder}/:name`,
    errors: PROBLEMS,
    open: true,
    get: getAsset(folder),
  })),
];

const READING: ReadonlySet<string> = new Set(["GET", "QUERY"]);

const isOpen = ({ open }: Route, method: string): boolean =>
  open === true || (open === "get" && method === "GET");

function addRoute(app: Hono<AppEnv>, route: Route): void {
  const { path } = route;
  const handlers = (["get", "post", "put", "delete", "query"] as const).flatMap((method) => {
    const handler = route[method];
    return handler === undefined ? [] : [{ method: method.toUpperCase(), handler }];
  });
  if (handlers.length === 0) return;
  for (const { method, handler } of handlers) {
    const scope = route.scope ?? (READING.has(method) ? "read" : "create");
    app.on([method], [path], ...(isOpen(route, method) ? [] : [requireKey(scope), fairShare]), handler);
  }
  const methods = handlers.flatMap(({ method }) => (method === "GET" ? ["GET", "HEAD"] : [method]));
  const allow = [...methods, "OPTIONS"].join(", ");
  app.all(path, (c) => {
    c.header("allow", allow);
    if (c.req.method === "OPTIONS") return c.body(null, 204);
    throw new VqdError("method_not_allowed", `this path supports only ${allow}`);
  });
}

export function createApp(): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  for (const route of ROUTES) {
    app.use(route.path, (c, next) => {
      c.set("route", route);
      return next();
    });
  }
  app.use(requestContext);
  app.use(preflight);
  for (const route of ROUTES) addRoute(app, route);
  app.notFound(async (c) => {
    const page = await missingPage(c);
    if (page !== undefined) return page;
    throw new VqdError("not_found", "there is nothing at this path");
  });
  app.onError((thrown, c) => {
    const log = c.get("log");
    const isExpected = thrown instanceof VqdError;
    const error = isExpected ? thrown : new VqdError("internal", "something went wrong", { cause: thrown });
    if (error instanceof RateRefusal) setRateHeaders(c, error.rate);
    if (!isExpected) log.error("unexpected error", errorFields(thrown));
    const { status, headers, body } = answerOf(error, c.get("route").errors, c.get("requestId"));
    if (status < 500) log.debug("request refused", { code: error.code });
    else log.warn("request failed", errorFields(error));
    return c.body(body, status, headers);
  });
  return app;
}
