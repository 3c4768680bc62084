// Which hub owns what: a caller's predictions live in one hub, named in their ids.

import { VqdError } from "@vqd/shared/errors.ts";
import { isPredictionId, shardOfPrediction } from "@vqd/shared/ids.ts";
import type { Env } from "../bindings.ts";
import { configOf } from "../config.ts";
import { type Hub, hubName } from "../hub/hub.ts";

export type HubStub = DurableObjectStub<Hub>;

export function hubOfShard(env: Env, shard: number): HubStub {
  return env.HUB.get(env.HUB.idFromName(hubName(shard)));
}

/** FNV-1a over the key's name: where new predictions of its owner go. */
export function shardOfKey(env: Env, keyName: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < keyName.length; i++) hash = Math.imul(hash ^ keyName.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % configOf(env).hubShards;
}

/** The hub of a prediction. Throws a VqdError (not_found) for what cannot be an id, so that no hub is made for it. */
export function hubOfPrediction(env: Env, id: string): HubStub {
  if (!isPredictionId(id) || shardOfPrediction(id) >= configOf(env).hubShards) {
    throw new VqdError("not_found", "there is no such prediction");
  }
  return hubOfShard(env, shardOfPrediction(id));
}
