// Looks up API keys by their hashes, in the settings and in the KV namespace.

import { type ApiKey, apiKeySchema, SCOPES, storedKeyName } from "@vqd/shared/api-key.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { encodeHex } from "../util/bytes.ts";
import type { Env } from "../bindings.ts";
import type { Config } from "../config.ts";

/** How long an isolate caches a key, in addition to KV's own cache; a revoked key is refused once both have expired. */
const CACHE_MS = 30_000;
/** The minimum that KV allows. */
const KV_CACHE_SECONDS = 30;
const MAX_CACHED = 10_000;
/** No key is longer, so longer input is not even hashed. */
const MAX_KEY_CHARS = 512;

interface Cached {
  readonly until: number;
  readonly key: ApiKey | null;
}

const caches = new WeakMap<Env, Map<string, Cached>>();

async function hashOf(key: string): Promise<string> {
  return encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))));
}

/** Keys in the settings have every scope. All of them are compared, so that timing does not reveal a near match. */
function configured(config: Config, hash: string): ApiKey | null {
  const encoder = new TextEncoder();
  let found: ApiKey | null = null;
  for (const { name, digest } of config.apiKeys) {
    if (crypto.subtle.timingSafeEqual(encoder.encode(hash), encoder.encode(encodeHex(digest)))) {
      found = {
        name,
        scopes: [...SCOPES],
        createdAt: 0,
        expiresAt: null,
        perMinute: null,
        live: null,
        priority: "high",
      };
    }
  }
  return found;
}

async function stored(env: Env, hash: string): Promise<ApiKey | null> {
  const value = await env.KEYS.get(storedKeyName(hash), { type: "json", cacheTtl: KV_CACHE_SECONDS });
  if (value === null) return null;
  const parsed = apiKeySchema.safeParse(value);
  if (!parsed.success)
    throw new VqdError("internal", "a stored API key is malformed", { cause: parsed.error });
  return parsed.data;
}

/** False if there is no key at all: then the edge is not configured yet, which is not the caller's fault. */
async function anyKey(env: Env, config: Config): Promise<boolean> {
  if (config.apiKeys.length > 0) return true;
  const { keys } = await env.KEYS.list({ prefix: storedKeyName(""), limit: 1 });
  return keys.length > 0;
}

/** The key that a caller presents; null if it is unknown or expired. Throws a VqdError (not_configured). */
export async function findKey(env: Env, config: Config, key: string): Promise<ApiKey | null> {
  if (key.length > MAX_KEY_CHARS) return null;
  const hash = await hashOf(key);
  const now = Date.now();
  let cache = caches.get(env);
  if (cache === undefined) caches.set(env, (cache = new Map()));
  let known = cache.get(hash);
  if (known === undefined || known.until <= now) {
    // Only valid keys are cached: guesses must not fill the memory.
    if (cache.size >= MAX_CACHED) cache.clear();
    known = { until: now + CACHE_MS, key: configured(config, hash) ?? (await stored(env, hash)) };
    if (known.key !== null) cache.set(hash, known);
  }
  const found = known.key;
  if (found !== null && (found.expiresAt === null || found.expiresAt > now)) return found;
  if (!(await anyKey(env, config))) throw new VqdError("not_configured", "no API key is configured");
  return null;
}
