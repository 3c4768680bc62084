// Turns what a hub's method returns or throws into a result that survives RPC.

import { VqdError } from "@vqd/shared/errors.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { type HubResult, toHubError } from "../prediction/hub-result.ts";

/** What `work` returns, or its VqdError as data; any other error is logged and reported as `internal`. */
export async function asResult<T>(log: Logger, work: () => T | Promise<T>): Promise<HubResult<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    if (error instanceof VqdError) return { ok: false, error: toHubError(error) };
    log.error("unexpected error", errorFields(error));
    return { ok: false, error: toHubError(new VqdError("internal", "something went wrong in the hub")) };
  }
}
