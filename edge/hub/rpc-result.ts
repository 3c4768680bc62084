// A hub's answers as data: errors do not cross a Durable Object's border with their fields.

import { VqdError } from "@vqd/shared/errors.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { type HubResult, toHubError } from "../prediction/hub-result.ts";

/** What `work` gives, or its VqdError; anything else that it throws is logged, and told as `internal`. */
export async function asResult<T>(log: Logger, work: () => T | Promise<T>): Promise<HubResult<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    if (error instanceof VqdError) return { ok: false, error: toHubError(error) };
    log.error("unexpected", errorFields(error));
    return { ok: false, error: toHubError(new VqdError("internal", "something went wrong in the hub")) };
  }
}
