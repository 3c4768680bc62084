// Event streams, for the owner of the prediction or the bearer of its unguessable URL.

import { VqdError } from "@vqd/shared/errors.ts";
import type { AppContext } from "../http/context.ts";
import { type StreamQuery, streamRequest } from "../hub/sse/stream-request.ts";
import { predictionIdOf } from "../service/prediction-id.ts";
import { originOf } from "../http/urls.ts";

/** Sequence number of the last event the client has seen; 0 if it is missing or not a number. */
function lastEventId(c: AppContext): number {
  const given = c.req.header("last-event-id") ?? c.req.query("last_event_id") ?? "";
  return /^\d{1,12}$/.test(given) ? Number(given) : 0;
}

async function open(c: AppContext, query: StreamQuery): Promise<Response> {
  const hub = c.get("hubs").ofPrediction(query.id);
  const response = await hub.fetch(streamRequest(query, c.req.raw.signal));
  if (response.status === 404) throw new VqdError("not_found", "the prediction does not exist");
  const retry = { retryable: true, retryAfterSeconds: Number(response.headers.get("retry-after")) };
  if (response.status === 429) throw new VqdError("rate_limited", await response.text(), retry);
  if (response.status === 503) {
    throw new VqdError("too_many_readers", "too many event streams are open", retry);
  }
  if (c.req.raw.method !== "HEAD") return response;
  await response.body?.cancel();
  // A response whose body has been consumed can no longer be given headers.
  return new Response(null, response);
}

/** `GET /v1/predictions/{id}/events` */
export async function predictionEvents(c: AppContext): Promise<Response> {
  const id = await predictionIdOf(c);
  const origin = originOf(c.get("config"), c.req.url);
  return open(c, { id, after: lastEventId(c), origin, keyName: c.get("keyName") });
}

/** Replicate's client for Python throws an error at the first event of a type that it does not know. */
const STRICT_CLIENT = /^replicate-python\//;

/** `GET /v1/streams/{id}/{capability}`: in the format that Replicate's client reads. */
export function capabilityStream(c: AppContext): Promise<Response> {
  const id = c.req.param("id") ?? "";
  const origin = originOf(c.get("config"), c.req.url);
  const capability = c.req.param("capability") ?? "";
  const strict = STRICT_CLIENT.test(c.req.header("user-agent") ?? "");
  return open(c, { id, after: lastEventId(c), origin, capability, strict });
}
