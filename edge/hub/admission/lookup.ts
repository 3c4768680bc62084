// A prediction by its id, or the error that says why there is none.

import { VqdError } from "@vqd/shared/errors.ts";
import type { PredictionRow } from "../storage/prediction-row.ts";
import type { PredictionStore } from "../storage/store.ts";

/** One that was there a moment ago; else a VqdError, internal. */
export function mustGet(store: PredictionStore, id: string): PredictionRow {
  const row = store.get(id);
  if (row === undefined) throw new VqdError("internal", "the prediction is gone");
  return row;
}

/** The prediction, if the key's owner made it; else a VqdError, not_found: others do not learn that it exists. */
export function getOwned(store: PredictionStore, id: string, keyName: string): PredictionRow {
  const row = store.get(id);
  if (row === undefined || row.keyName !== keyName) {
    throw new VqdError("not_found", "the prediction does not exist");
  }
  return row;
}
