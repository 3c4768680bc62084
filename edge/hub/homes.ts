// Where each owner is at home: the hub that has its lists, secrets, idempotency keys and limits. The hub of shard 0 keeps the
// directory, so that raising `HUB_SHARDS` moves nobody.

import { preferredShard } from "../prediction/shards.ts";
import { UNFOLDED } from "./storage/accounting/usage-store.ts";

/** What the directory asks of other hubs. */
export interface Neighbor {
  owners(): Promise<string[]>;
}

const CREATED_FOR = "homes_created_for";

/** Owners of what a hub has, some of them several times. */
const OWNERS = `SELECT key_name FROM usage UNION ALL SELECT key_name FROM webhook_secrets UNION ALL SELECT key_name FROM audit
  UNION ALL SELECT key_name FROM usage_by_day UNION ALL SELECT key_name FROM usage_lines WHERE ${UNFOLDED}`;

export interface HomesOptions {
  readonly storage: DurableObjectStorage;
  /** The hub of another shard. */
  readonly neighbor: (shard: number) => Neighbor;
  readonly meta: { get: (name: string) => string | undefined; set: (name: string, value: string) => void };
}

export class Homes {
  readonly #options: HomesOptions;
  #importing: Promise<void> | undefined;

  constructor(options: HomesOptions) {
    this.#options = options;
  }

  /** Owners that this hub has something of. */
  owners(): string[] {
    return this.#options.storage.sql
      .exec<{ key_name: string }>(`SELECT DISTINCT key_name FROM (${OWNERS})`)
      .toArray()
      .map(({ key_name: owner }) => owner);
  }

  /** The owner's home among `shards` hubs, the same whenever it is asked for. Rejects while a hub that it may be in does not answer. */
  async homeOf(owner: string, shards: number): Promise<number> {
    const known = this.#find(owner);
    if (known !== undefined) return known;
    await this.#importOnce(shards);
    const { sql } = this.#options.storage;
    // While the number is raised, edges that know of one hub only may create owners in this one.
    const home = this.#hasOwner(owner) ? 0 : preferredShard(owner, shards);
    sql.exec("INSERT OR IGNORE INTO homes (key_name, shard) VALUES (?, ?)", owner, home);
    return this.#find(owner) ?? home;
  }

  #find(owner: string): number | undefined {
    const query = "SELECT shard FROM homes WHERE key_name = ?";
    return this.#options.storage.sql.exec<{ shard: number }>(query, owner).toArray()[0]?.shard;
  }

  #hasOwner(owner: string): boolean {
    const query = `SELECT 1 FROM (${OWNERS}) WHERE key_name = ? LIMIT 1`;
    return this.#options.storage.sql.exec(query, owner).toArray().length > 0;
  }

  /** Of releases without a directory, owners are where these found them. */
  async #importOnce(shards: number): Promise<void> {
    const { meta } = this.#options;
    if (Number(meta.get(CREATED_FOR) ?? 0) >= shards) return;
    this.#importing ??= this.#import(shards).finally(() => (this.#importing = undefined));
    await this.#importing;
  }

  async #import(shards: number): Promise<void> {
    const { storage, neighbor, meta } = this.#options;
    const homes = new Map<string, number>();
    for (let shard = 0; shard < shards; shard++) {
      const owners = shard === 0 ? this.owners() : await neighbor(shard).owners();
      for (const owner of owners) {
        // In two hubs, if the number was raised before there was a directory: then it is the one that was used last.
        if (!homes.has(owner) || preferredShard(owner, shards) === shard) homes.set(owner, shard);
      }
    }
    storage.transactionSync(() => {
      for (const [owner, shard] of homes) {
        storage.sql.exec("INSERT OR IGNORE INTO homes (key_name, shard) VALUES (?, ?)", owner, shard);
      }
      meta.set(CREATED_FOR, String(shards));
    });
  }
}
