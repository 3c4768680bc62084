// Which versions of a model serve requests that name only the model: an operator's decision, one message per model name.

import { z } from "zod";
import { modelNameSchema, versionSchema } from "../model.ts";

export const MAX_WEIGHT = 1_000;
/** Versions that can share a name's requests. */
export const MAX_SHARES = 16;
/** Retired versions that are remembered. */
export const MAX_RETIRED = 200;

export const modelRouteSchema = z
  .strictObject({
    v: z.literal(1),
    name: modelNameSchema,
    /** The versions that get requests, each in proportion to its weight. */
    shares: z
      .array(z.strictObject({ version: versionSchema, weight: z.int().min(1).max(MAX_WEIGHT) }))
      .min(1)
      .max(MAX_SHARES),
    /** Versions that are no longer served, whatever is announced; the one retired last at the end. */
    retired: z.array(versionSchema).max(MAX_RETIRED),
  })
  .refine(
    ({ shares, retired }) => {
      const versions = [...shares.map(({ version }) => version), ...retired];
      return new Set(versions).size === versions.length;
    },
    { message: "must name each version once", path: ["shares"] },
  );

/** The broker's time of the message is when the route was written. */
export type ModelRoute = z.infer<typeof modelRouteSchema>;
export type Share = ModelRoute["shares"][number];

/** The route of a model of which only this version has been seen. */
export const firstRoute = (name: string, version: string): ModelRoute => ({
  v: 1,
  name,
  shares: [{ version, weight: 1 }],
  retired: [],
});

/** The part of a name's requests that a version gets, from 0 to 1. */
export function shareOf({ shares }: Pick<ModelRoute, "shares">, version: string): number {
  const total = shares.reduce((sum, { weight }) => sum + weight, 0);
  return (shares.find((share) => share.version === version)?.weight ?? 0) / total;
}

/**
 * The version that serves what `key` identifies: always the same for the same key, and over many keys each as often as its
 * weight says. Undefined if there are no shares.
 */
export function versionFor(shares: readonly Share[], key: string): string | undefined {
  const total = shares.reduce((sum, { weight }) => sum + weight, 0);
  let left = uniform(key) * total;
  for (const { version, weight } of shares) {
    left -= weight;
    if (left < 0) return version;
  }
  return shares.at(-1)?.version;
}

/** From 0 to 1, exclusive: FNV-1a, whose high bits hardly depend on the last characters, and MurmurHash3's finalizer, which mixes them. */
function uniform(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
