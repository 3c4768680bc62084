// Who a key belongs to: looked up by its hash, in the settings and in the keys' namespace.

import { type ApiKey, apiKeySchema, SCOPES, storedKeyName } from "@vqd/shared/api-key.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { encodeHex } from "../util/bytes.ts";
import type { Env } from "../bindings.ts";
import type { Config } from "../config.ts";

/** How long an isolate, and the namespace's own cache, go on knowing a key: a revoked one is refused after both. */
const CACHE_MS = 30_000;
/** KV's least. */
const KV_CACHE_SECONDS = 30;
const MAX_CACHED = 10_000;
/** No key is longer; hashing more would only be work for nothing. */
const MAX_KEY_CHARS = 512;

interface Cached {
  readonly until: number;
  readonly key: ApiKey | null;
}

const caches = new WeakMap<Env, Map<string, Cached>>();

async function hashOf(key: string): Promise<string> {
  return encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))));
}

/** A key of the settings may do everything. Looks at each, so that the time does not tell which one came close. */
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
    throw new VqdError("internal", "a stored API key is not valid", { cause: parsed.error });
  return parsed.data;
}

/** True unless there is no key at all: then the edge is not set up, which is not the caller's fault. */
async function anyKey(env: Env, config: Config): Promise<boolean> {
  if (config.apiKeys.length > 0) return true;
  const { keys } = await env.KEYS.list({ prefix: storedKeyName(""), limit: 1 });
  return keys.length > 0;
}

/** What is known of a key that a caller presents; null for an unknown one. Throws a VqdError (not_configured). */
export async function findKey(env: Env, config: Config, key: string): Promise<ApiKey | null> {
  if (key.length > MAX_KEY_CHARS) return null;
  const hash = await hashOf(key);
  const now = Date.now();
  let cache = caches.get(env);
  if (cache === undefined) caches.set(env, (cache = new Map()));
  let known = cache.get(hash);
  if (known === undefined || known.until <= now) {
    // Guesses must not fill the memory.
    if (cache.size >= MAX_CACHED) cache.clear();
    known = { until: now + CACHE_MS, key: configured(config, hash) ?? (await stored(env, hash)) };
    if (known.key !== null) cache.set(hash, known);
  }
  const found = known.key;
  if (found !== null && (found.expiresAt === null || found.expiresAt > now)) return found;
  if (!(await anyKey(env, config))) throw new VqdError("not_configured", "no API keys configured");
  return null;
}
