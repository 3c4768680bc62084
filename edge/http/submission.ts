// What a submitted prediction takes from its request, whatever the dialect of the body.

import { newPredictionId } from "@vqd/shared/ids.ts";
import type { Submission } from "../service/submit.ts";
import { cancelAfterMs } from "./cancel-after.ts";
import type { AppContext } from "./context.ts";
import { originOf } from "./urls.ts";

type OfRequest = Pick<Submission, "id" | "apiKey" | "requestId" | "traceparent" | "cancelAfterMs" | "origin">;

/** Throws a VqdError (invalid_input) for a malformed Cancel-After header. */
export function submissionOf(c: AppContext): OfRequest {
  return {
    id: newIdOf(c),
    apiKey: c.get("apiKey"),
    requestId: c.get("requestId"),
    traceparent: c.get("traceparent"),
    cancelAfterMs: cancelAfterMs(c.req.header("cancel-after")),
    origin: originOf(c.get("config"), c.req.url),
  };
}

/** The id of the prediction that the request makes, unless an earlier one has made it: the same throughout the request. */
function newIdOf(c: AppContext): string {
  const id = c.get("newId") ?? newPredictionId(c.get("hubs").home);
  c.set("newId", id);
  return id;
}

/** By which one of several versions of a model is chosen: a request that is repeated gets the same one. */
export function choiceKeyOf(c: AppContext): string {
  const ownId = c.req.method === "PUT" ? c.req.param("id") : undefined;
  const given = ownId ?? c.req.header("idempotency-key")?.trim();
  return given === undefined ? newIdOf(c) : `${c.get("keyName")} ${given}`;
}
