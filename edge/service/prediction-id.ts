// Which prediction a request is about: its path has the service's id, or one that the caller has given.

import { VqdError } from "@vqd/shared/errors.ts";
import { isPredictionId } from "@vqd/shared/ids.ts";
import type { AppContext } from "../http/context.ts";
import { unwrap } from "../prediction/hub-result.ts";
import { isOwnId } from "../prediction/own-id.ts";

/** The service's id of the prediction in the path. Throws a VqdError (not_found) if it cannot exist, or no longer does. */
export async function predictionIdOf(c: AppContext): Promise<string> {
  const given = c.req.param("id") ?? "";
  if (isPredictionId(given)) return given;
  if (!isOwnId(given)) throw new VqdError("not_found", "the prediction does not exist");
  const keyName = c.get("keyName");
  return unwrap(await c.get("hubs").own.idOf(given, keyName));
}
