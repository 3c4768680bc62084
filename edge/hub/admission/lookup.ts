// Looks up predictions by id, or throws the appropriate error.

import { VqdError } from "@vqd/shared/errors.ts";
import type { PredictionRow } from "../storage/prediction-row.ts";
import type { PredictionStore } from "../storage/store.ts";

/** A prediction that must exist. Throws a VqdError (internal) otherwise. */
export function mustGet(store: PredictionStore, id: string): PredictionRow {
  const row = store.get(id);
  if (row === undefined) throw new VqdError("internal", "the prediction is gone");
  return row;
}

/** The prediction, if the key's owner created it. Throws a VqdError (not_found) otherwise: others must not learn that it exists. */
export function getOwned(store: PredictionStore, id: string, keyName: string): PredictionRow {
  const row = store.get(id);
  if (row === undefined || row.keyName !== keyName || row.deletedAt !== null) {
    throw new VqdError("not_found", "the prediction does not exist");
  }
  return row;
}
