// API keys in the edge's namespace, as `npm run keys` stores them.

import { env } from "cloudflare:workers";
import { type ApiKey, SCOPES, storedKeyName } from "../../shared/api-key.ts";

export const hashOf = async (key: string): Promise<string> => {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

let count = 0;
/** The owner of a stored key, unless it was given another. */
export const ownerOf = (key: string): string => key.replace("stored-", "owner-");

/** Stores a key and gives it. */
export async function storeKey(settings: Partial<ApiKey> = {}): Promise<string> {
  const key = `stored-${++count}`;
  const stored: ApiKey = {
    name: ownerOf(key),
    scopes: [...SCOPES],
    createdAt: 1,
    expiresAt: null,
    perMinute: null,
    live: null,
    priority: "normal",
    ...settings,
  };
  await env.KEYS.put(storedKeyName(await hashOf(key)), JSON.stringify(stored));
  return key;
}
