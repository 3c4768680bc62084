// Seeds: integers from 0 to 2^64 - 1, of which JSON numbers hold only those up to 2^53 - 1.

import { z } from "zod";

export const MAX_SEED = 2n ** 64n - 1n;
export const SEED_RANGE = "an integer from 0 to 2^64 - 1";

/** Decimal digits, as many as MAX_SEED has. */
export const SEED_DIGITS = /^\d{1,20}$/;

/** A seed in JSON: a number up to 2^53 - 1, beyond that its decimal digits, since most parsers would round the number. */
export type JsonSeed = number | string;

/** The seed that `digits` write; undefined if it is none, or above MAX_SEED. */
export function parseSeed(digits: string): number | bigint | undefined {
  if (!SEED_DIGITS.test(digits)) return undefined;
  const seed = BigInt(digits);
  if (seed > MAX_SEED) return undefined;
  return seed <= Number.MAX_SAFE_INTEGER ? Number(seed) : seed;
}

/** The one form in JSON that a seed has. */
export const toJsonSeed = (seed: number | bigint): JsonSeed =>
  seed <= Number.MAX_SAFE_INTEGER ? Number(seed) : seed.toString();

export const fromJsonSeed = (seed: JsonSeed): number | bigint =>
  typeof seed === "number" ? seed : BigInt(seed);

/** A seed in messages. */
export const seedSchema = z.union([
  z.int().min(0),
  z
    .string()
    .refine((digits) => typeof parseSeed(digits) === "bigint", "must be a number, or at most 2^64 - 1"),
]);

/** The index of image `index` among those with its seed, by which its noise is drawn. */
export const placeOfSeed = (seeds: readonly (number | bigint)[], index: number): number =>
  // As text: 5 and 5n are one seed.
  seeds.slice(0, index).filter((seed) => String(seed) === String(seeds[index])).length;
