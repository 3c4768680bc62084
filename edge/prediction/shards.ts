// The shard that an owner's predictions are in, if nothing else is known of the owner.

/** FNV-1a of the owner's name, modulo the number of shards. */
export function preferredShard(owner: string, shards: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < owner.length; i++) hash = Math.imul(hash ^ owner.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % shards;
}
