// Sharing a prediction: a link by which others see it without a key, until its owner takes it back.

import { VqdError } from "@vqd/shared/errors.ts";
import { CAPABILITY_PATTERN, isPredictionId } from "@vqd/shared/ids.ts";
import type { AppContext } from "../http/context.ts";
import { originOf } from "../http/urls.ts";
import { unwrap } from "../prediction/hub-result.ts";
import type { PredictionRecord } from "../prediction/records.ts";
import { sharedPageUrl, sharedUrl } from "../prediction/urls.ts";
import { viewShared } from "../prediction/view.ts";
import { predictionIdOf } from "../service/prediction-id.ts";
import { actorOf } from "./accounting/audit.ts";
import { serveFile } from "./files.ts";

/** `POST /v1/predictions/{id}/share`: sent again, it answers the same link. */
export async function sharePrediction(c: AppContext): Promise<Response> {
  const id = await predictionIdOf(c);
  const capability = unwrap(await c.get("hubs").ofPrediction(id).share(id, c.get("keyName"), actorOf(c)));
  const origin = originOf(c.get("config"), c.req.url);
  c.header("cache-control", "no-store");
  return c.json({
    id,
    capability,
    url: sharedUrl(origin, id, capability),
    page: sharedPageUrl(origin, id, capability),
  });
}

/** `DELETE /v1/predictions/{id}/share` */
export async function unsharePrediction(c: AppContext): Promise<Response> {
  const id = await predictionIdOf(c);
  unwrap(await c.get("hubs").ofPrediction(id).unshare(id, c.get("keyName"), actorOf(c)));
  return c.body(null, 204);
}

async function sharedRecord(c: AppContext): Promise<{ record: PredictionRecord; capability: string }> {
  const id = c.req.param("id") ?? "";
  const capability = c.req.param("capability") ?? "";
  if (!isPredictionId(id) || !CAPABILITY_PATTERN.test(capability)) {
    throw new VqdError("not_found", "the prediction does not exist, or is not shared");
  }
  return { record: unwrap(await c.get("hubs").ofPrediction(id).shared(id, capability)), capability };
}

/** `GET /v1/shared/{id}/{capability}` */
export async function getShared(c: AppContext): Promise<Response> {
  const { record, capability } = await sharedRecord(c);
  const config = c.get("config");
  c.header("cache-control", "no-store");
  return c.json(viewShared(record, capability, { origin: originOf(config, c.req.url), retention: config }));
}

/** `GET /v1/shared/{id}/{capability}/{name}`: not for caches, which would show it after the link has been taken back. */
export async function getSharedFile(c: AppContext): Promise<Response> {
  const { record } = await sharedRecord(c);
  const response = await serveFile(c, record.fileCapability, c.req.param("name") ?? "");
  response.headers.set("cache-control", "no-store");
  return response;
}
