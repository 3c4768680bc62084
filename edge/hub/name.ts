// A hub's name, which contains its shard.

import { VqdError } from "@vqd/shared/errors.ts";
import type { PredictionStore } from "./storage/store.ts";

const PREFIX = "hub-";

export const hubName = (shard: number): string => `${PREFIX}${shard}`;

/** The shard in the object's name. The name is stored, since an object woken by its alarm may not know it. */
export function shardOf(ctx: DurableObjectState, store: PredictionStore): number {
  const name = ctx.id.name ?? store.meta("name");
  if (name === undefined) throw new VqdError("internal", "a hub must be addressed by its name");
  if (store.meta("name") === undefined) store.setMeta("name", name);
  return Number(name.slice(PREFIX.length));
}
