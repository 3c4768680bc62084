// API keys as stored: never the key itself, only its SHA-256 and what it may do.

import { z } from "zod";
import { PRIORITIES } from "./subjects.ts";

/**
 * `read`: see the key's own predictions, and the models. `create`: create and cancel predictions. `admin`: manage the
 * secrets that sign webhooks. `metrics`: read the hubs' counts, over all keys. `billing`: read what all owners have used.
 */
export const SCOPES = ["create", "read", "admin", "metrics", "billing"] as const;
export type Scope = (typeof SCOPES)[number];

/** Name of the owner: keys with the same name see the same predictions. */
export const keyNameSchema = z
  .string()
  .regex(/^[\w.-]{1,64}$/, "must be 1 to 64 letters, digits, dots, _ or -");

/** What a key may be limited in, by calendar month (UTC). Steps are those of images: 25 steps of 4 images are 100. */
export const QUOTAS = ["images", "steps", "gpu_seconds"] as const;
export type QuotaName = (typeof QUOTAS)[number];

export const apiKeySchema = z.strictObject({
  name: keyNameSchema,
  scopes: z.array(z.enum(SCOPES)).min(1),
  /** Unix time in ms. */
  createdAt: z.int(),
  /** Unix time in ms from which the key is invalid; null for never. */
  expiresAt: z.int().nullable(),
  /** Most predictions per minute, and most live at once; null for the edge's own limits. */
  perMinute: z.int().min(1).nullable(),
  live: z.int().min(1).nullable(),
  /** The highest priority that its predictions may have. Keys of older releases do not have it. */
  priority: z.enum(PRIORITIES).default("normal"),
  /** Most that its owner may have used in a month for it to make more. Absent without any, for edges of older releases. */
  quotas: z.partialRecord(z.enum(QUOTAS), z.int().min(1)).optional(),
});
export type ApiKey = z.infer<typeof apiKeySchema>;
export type Quotas = NonNullable<ApiKey["quotas"]>;

/** A key with the id by which operators know it. */
export type KnownKey = ApiKey & { readonly id: string };

const ID_DIGITS = 12;
/** Suffices to identify a key, and not to make it. */
export const keyIdOf = (sha256Hex: string): string => sha256Hex.slice(0, ID_DIGITS);

/** The name under which a key is stored in the KV namespace. */
export const storedKeyName = (sha256Hex: string): string => `key:${sha256Hex}`;
