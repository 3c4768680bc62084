// Token buckets by name, kept in memory: a restarted hub forgets, in the caller's favour, at most one bucket's worth.

const MINUTE_MS = 60_000;
const UNIT_BYTES = 16 * 1024;
const MAX_BUCKETS = 10_000;

/** What a request of that many bytes counts, where size matters: one, and one more per 16 KiB. */
export const unitsOf = (bytes: number): number => 1 + Math.floor(bytes / UNIT_BYTES);

export interface Bucket {
  /** May be negative: what has been taken in excess must refill first. */
  tokens: number;
  at: number;
}

export interface BucketSize {
  /** Tokens that flow in per minute. */
  readonly perMinute: number;
  /** Most that it holds. */
  readonly capacity: number;
}

/** ms until the bucket holds `tokens`. */
export const msUntil = (tokens: number, bucket: Bucket, { perMinute }: BucketSize): number =>
  Math.max(0, ((tokens - bucket.tokens) * MINUTE_MS) / perMinute);

export class TokenBuckets {
  readonly #buckets = new Map<string, Bucket>();

  /** The bucket of that name, refilled up to `now`; a new one is full. */
  refilled(name: string, { perMinute, capacity }: BucketSize, now: number): Bucket {
    const known = this.#buckets.get(name);
    if (known !== undefined) {
      known.tokens = Math.min(capacity, known.tokens + ((now - known.at) * perMinute) / MINUTE_MS);
      known.at = now;
      return known;
    }
    if (this.#buckets.size >= MAX_BUCKETS) this.#buckets.clear();
    const bucket = { tokens: capacity, at: now };
    this.#buckets.set(name, bucket);
    return bucket;
  }
}
