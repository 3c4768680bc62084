// Looks up API keys by their hashes, in the settings and in the KV namespace.

import {
  type ApiKey,
  apiKeySchema,
  keyIdOf,
  type KnownKey,
  SCOPES,
  storedKeyName,
} from "@vqd/shared/api-key.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { encodeHex, sha256Hex } from "../util/bytes.ts";
import { limitSize } from "../util/limit-size.ts";
import type { Env } from "../bindings.ts";
import type { Config } from "../config.ts";

/** How long an isolate caches a key, in addition to KV's own cache; a revoked key is refused once both have expired. */
const CACHE_MS = 30_000;
/** The minimum that KV allows. */
const KV_CACHE_SECONDS = 30;
const MAX_CACHED = 10_000;
/** Most wrong keys that are remembered, so that whoever repeats one costs no further reads of KV, which are billed. */
const MAX_REFUSED = 1_000;
/** No key is longer, so longer input is not even hashed. */
const MAX_KEY_CHARS = 512;

interface Cached {
  readonly until: number;
  readonly key: KnownKey;
}

interface Cache {
  readonly valid: Map<string, Cached>;
  /** Until when the hash of a wrong key is refused without a look. */
  readonly refused: Map<string, number>;
  /** Whether KV holds any key. */
  anyStored: { readonly until: number; readonly found: boolean } | undefined;
}

const caches = new WeakMap<Env, Cache>();

function cacheOf(env: Env): Cache {
  let cache = caches.get(env);
  if (cache === undefined)
    caches.set(env, (cache = { valid: new Map(), refused: new Map(), anyStored: undefined }));
  return cache;
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

/**
 * False if there is no key at all: then the edge is not configured yet, which is not the caller's fault. Strangers cause the
 * question, and a list of KV costs more than a read, so the answer is kept for a while.
 */
async function anyKey(env: Env, config: Config, cache: Cache, now: number): Promise<boolean> {
  if (config.apiKeys.length > 0) return true;
  if (cache.anyStored === undefined || cache.anyStored.until <= now) {
    const { keys } = await env.KEYS.list({ prefix: storedKeyName(""), limit: 1 });
    cache.anyStored = { until: now + CACHE_MS, found: keys.length > 0 };
  }
  return cache.anyStored.found;
}

async function lookUp(env: Env, config: Config, hash: string, cache: Cache): Promise<KnownKey | null> {
  const now = Date.now();
  const known = cache.valid.get(hash);
  if (known !== undefined && known.until > now) return known.key;
  if ((cache.refused.get(hash) ?? 0) > now) return null;
  const found = configured(config, hash) ?? (await stored(env, hash));
  const key = found && { ...found, id: keyIdOf(hash) };
  // Guesses must not fill the memory, nor displace valid keys.
  if (key === null) {
    limitSize(cache.refused, MAX_REFUSED);
    cache.refused.set(hash, now + CACHE_MS);
  } else {
    limitSize(cache.valid, MAX_CACHED);
    cache.valid.set(hash, { until: now + CACHE_MS, key });
  }
  return key;
}

/** The key that a caller presents; null if it is unknown or expired. Throws a VqdError (not_configured). */
export async function findKey(env: Env, config: Config, key: string): Promise<KnownKey | null> {
  if (key.length > MAX_KEY_CHARS) return null;
  const cache = cacheOf(env);
  const found = key === "" ? null : await lookUp(env, config, await sha256Hex(key), cache);
  const now = Date.now();
  if (found !== null && (found.expiresAt === null || found.expiresAt > now)) return found;
  if (!(await anyKey(env, config, cache, now))) {
    throw new VqdError("not_configured", "no API key is configured");
  }
  return null;
}
