// Prediction ids: 26 characters in Crockford's base32, the first two of which name the hub shard that owns the prediction.

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const ID_LENGTH = 26;
const SHARD_CHARS = 2;

/** Number of hub shards that an id can name: 32^2. */
export const MAX_SHARDS = ALPHABET.length ** SHARD_CHARS;

export const PREDICTION_ID_PATTERN = /^[0-9a-hjkmnp-tv-z]{26}$/;

function randomBase32(length: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  // 256 is a multiple of 32, so the low five bits are uniform.
  return Array.from(bytes, (byte) => ALPHABET.charAt(byte & 31)).join("");
}

/** A new id in `shard` (0 .. MAX_SHARDS - 1); the other 24 characters are 120 random bits. */
export function newPredictionId(shard: number): string {
  if (!Number.isInteger(shard) || shard < 0 || shard >= MAX_SHARDS) {
    throw new RangeError(`shard must be an integer from 0 to ${MAX_SHARDS - 1}, not ${shard}`);
  }
  const prefix = ALPHABET.charAt(shard >> 5) + ALPHABET.charAt(shard & 31);
  return prefix + randomBase32(ID_LENGTH - SHARD_CHARS);
}

export function isPredictionId(value: string): boolean {
  return PREDICTION_ID_PATTERN.test(value);
}

/** The shard that owns a prediction; `id` must be well-formed. */
export function shardOfPrediction(id: string): number {
  return ALPHABET.indexOf(id.charAt(0)) * 32 + ALPHABET.indexOf(id.charAt(1));
}

export const CAPABILITY_PATTERN = /^[0-9a-hjkmnp-tv-z]{32}$/;

/** An unguessable path segment (160 bits) for resources that are fetched without an Authorization header. */
export function newCapability(): string {
  return randomBase32(32);
}
