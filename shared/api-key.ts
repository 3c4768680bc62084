// API keys as they are stored: never the key, only its SHA-256 and what it may do.

import { z } from "zod";
import { PRIORITIES } from "./subjects.ts";

/**
 * `read`: see the key's own predictions and the models. `create`: make and cancel predictions. `admin`: the secrets
 * that sign webhooks. `metrics`: what the hubs have counted, of all keys together.
 */
export const SCOPES = ["create", "read", "admin", "metrics"] as const;
export type Scope = (typeof SCOPES)[number];

/** Name of the owner: keys of one name see the same predictions. */
export const keyNameSchema = z
  .string()
  .regex(/^[\w.-]{1,64}$/, "must be 1 to 64 letters, digits, dots, _ or -");

export const apiKeySchema = z.strictObject({
  name: keyNameSchema,
  scopes: z.array(z.enum(SCOPES)).min(1),
  /** Unix time in ms. */
  createdAt: z.int(),
  /** After which it is not valid any more; null for never. */
  expiresAt: z.int().nullable(),
  /** Predictions made in a minute, and live at once; null for the edge's own limits. */
  perMinute: z.int().min(1).nullable(),
  live: z.int().min(1).nullable(),
  /** The highest priority that its predictions may have. Keys of older releases do not say. */
  priority: z.enum(PRIORITIES).default("normal"),
});
export type ApiKey = z.infer<typeof apiKeySchema>;

/** Where a key lies in the namespace. */
export const storedKeyName = (sha256Hex: string): string => `key:${sha256Hex}`;
