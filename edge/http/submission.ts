// What a submitted prediction takes from its request, whatever the dialect of the body.

import type { Submission } from "../service/submit.ts";
import { cancelAfterMs } from "./cancel-after.ts";
import type { AppContext } from "./context.ts";
import { originOf } from "./urls.ts";

type OfRequest = Pick<Submission, "apiKey" | "requestId" | "traceparent" | "cancelAfterMs" | "origin">;

/** Throws a VqdError (invalid_input) for a malformed Cancel-After header. */
export function submissionOf(c: AppContext): OfRequest {
  return {
    apiKey: c.get("apiKey"),
    requestId: c.get("requestId"),
    traceparent: c.get("traceparent"),
    cancelAfterMs: cancelAfterMs(c.req.header("cancel-after")),
    origin: originOf(c.get("config"), c.req.url),
  };
}
