// Looks up predictions by id, or throws the appropriate error.

import { VqdError } from "@vqd/shared/errors.ts";
import type { Actor } from "../../prediction/accounting/audit.ts";
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
  if (row?.keyName === keyName && row.deletedAt === null) return row;
  const isArchived = row === undefined && store.archive.partOf(id)?.keyName === keyName;
  const reason = isArchived ? "is archived: nothing is left of it but its record" : "does not exist";
  throw new VqdError("not_found", `the prediction ${reason}`);
}

/** Whether somebody acts on a prediction with another key than it was made with. */
export const isOfAnother = ({ keyId }: Pick<PredictionRow, "keyId">, by: Actor | undefined): by is Actor =>
  by !== undefined && keyId !== "" && keyId !== by.keyId;
