// Finds the hub of a key or a prediction: all predictions of an owner live in one hub, whose shard is part of their ids.

import { VqdError } from "@vqd/shared/errors.ts";
import { isPredictionId, shardOfPrediction } from "@vqd/shared/ids.ts";
import type { Hub } from "../hub/hub.ts";
import { hubName } from "../hub/name.ts";

export type HubStub = DurableObjectStub<Hub>;

/** Hubs that are asked at a time: the number of connections that a Worker may have waiting for a response. */
const AT_ONCE = 6;

export class Hubs {
  readonly namespace: DurableObjectNamespace<Hub>;
  /** Number of hubs. */
  readonly shards: number;

  constructor(namespace: DurableObjectNamespace<Hub>, shards: number) {
    this.namespace = namespace;
    this.shards = shards;
  }

  ofShard(shard: number): HubStub {
    return this.namespace.get(this.namespace.idFromName(hubName(shard)));
  }

  /** The shard for new predictions of a key's owner: FNV-1a of the owner's name. */
  shardOfKey(keyName: string): number {
    let hash = 0x811c9dc5;
    for (let i = 0; i < keyName.length; i++) hash = Math.imul(hash ^ keyName.charCodeAt(i), 0x01000193);
    return (hash >>> 0) % this.shards;
  }

  ofKey(keyName: string): HubStub {
    return this.ofShard(this.shardOfKey(keyName));
  }

  /** What the hub of each shard answers, in their order. Rejects with the first error. */
  async ofAll<T>(ask: (hub: HubStub, shard: number) => Promise<T>): Promise<T[]> {
    const answers: T[] = [];
    while (answers.length < this.shards) {
      const length = Math.min(AT_ONCE, this.shards - answers.length);
      const shards = Array.from({ length }, (_, i) => answers.length + i);
      answers.push(...(await Promise.all(shards.map((shard) => ask(this.ofShard(shard), shard)))));
    }
    return answers;
  }

  /** Whether there is a hub of the shard in a well-formed id. */
  has(id: string): boolean {
    return shardOfPrediction(id) < this.shards;
  }

  /** The hub of a prediction. Throws a VqdError (not_found) for a malformed id, so that no hub is created for it. */
  ofPrediction(id: string): HubStub {
    if (!isPredictionId(id) || !this.has(id)) {
      throw new VqdError("not_found", "the prediction does not exist");
    }
    return this.ofShard(shardOfPrediction(id));
  }
}
