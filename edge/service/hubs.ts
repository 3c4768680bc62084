// Finds the hub of an owner or a prediction: all predictions of an owner live in one hub, whose shard is part of their ids.

import { VqdError } from "@vqd/shared/errors.ts";
import { isPredictionId, shardOfPrediction } from "@vqd/shared/ids.ts";
import type { Hub } from "../hub/hub.ts";
import { hubName } from "../hub/name.ts";
import { limitSize } from "../util/limit-size.ts";

export type HubStub = DurableObjectStub<Hub>;

/** Hubs that are asked at a time: the number of connections that a Worker may have waiting for a response. */
const AT_ONCE = 6;
/** The hub that knows where each owner is at home. */
const DIRECTORY = 0;
/** Owners whose homes are remembered. They never move. */
const MAX_KNOWN = 10_000;
const known = new WeakMap<DurableObjectNamespace<Hub>, Map<string, number>>();

interface HubsOptions {
  /** Shard of the owner that the request comes from, see `of`. */
  readonly home?: number;
  /** Where a hub is created that does not exist yet. */
  readonly location?: DurableObjectLocationHint | undefined;
}

export class Hubs {
  readonly namespace: DurableObjectNamespace<Hub>;
  /** Number of hubs. */
  readonly shards: number;
  readonly #options: HubsOptions;

  constructor(namespace: DurableObjectNamespace<Hub>, shards: number, options: HubsOptions = {}) {
    this.namespace = namespace;
    this.shards = shards;
    this.#options = options;
  }

  /** The same, for requests of an owner. */
  async of(keyName: string): Promise<Hubs> {
    const home = await this.#homeOf(keyName);
    return new Hubs(this.namespace, this.shards, { ...this.#options, home });
  }

  /** The shard of the request's owner. */
  get home(): number {
    const { home } = this.#options;
    if (home === undefined) throw new VqdError("internal", "the request has no owner");
    return home;
  }

  /** The hub of the request's owner: of its new predictions, and of all that is not said of one prediction. */
  get own(): HubStub {
    return this.ofShard(this.home);
  }

  async #homeOf(keyName: string): Promise<number> {
    if (this.shards === 1) return DIRECTORY;
    let homes = known.get(this.namespace);
    if (homes === undefined) known.set(this.namespace, (homes = new Map()));
    const remembered = homes.get(keyName);
    if (remembered !== undefined) return remembered;
    const home = await this.ofShard(DIRECTORY).homeOf(keyName, this.shards);
    limitSize(homes, MAX_KNOWN);
    homes.set(keyName, home);
    return home;
  }

  ofShard(shard: number): HubStub {
    const { location } = this.#options;
    const id = this.namespace.idFromName(hubName(shard));
    return this.namespace.get(id, location === undefined ? {} : { locationHint: location });
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
