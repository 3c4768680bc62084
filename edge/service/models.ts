// The models that this edge serves, and which of them a request refers to.

import { VqdError } from "@vqd/shared/errors.ts";
import type { Logger } from "@vqd/shared/log.ts";
import { type ModelManifest, VERSION_PATTERN } from "@vqd/shared/model.ts";
import type { Hubs } from "./hubs.ts";
import { CLIP_MERGES_SHA256 } from "@vqd/shared/tokenizer/vocabulary.ts";
import { VOCABULARY_SIZE } from "./tokenizer.ts";

/** How long an isolate caches the hub's list. */
const CACHE_MS = 3_000;
/** An empty list is cached for less: the first worker may just be starting. */
const EMPTY_CACHE_MS = 500;
const NO_MODEL_RETRY_SECONDS = 5;

interface CachedModels {
  readonly until: number;
  readonly models: readonly ModelManifest[];
}

/** By shard. */
const caches = new WeakMap<Hubs["namespace"], Map<number, CachedModels>>();
const reported = new Set<string>();

/** True if the edge can tokenize for the model; otherwise logs that once. */
function isServed(manifest: ModelManifest, log: Logger): boolean {
  const { mergesSha256: wanted, padTokenId } = manifest.tokenizer;
  if (wanted === CLIP_MERGES_SHA256 && padTokenId < VOCABULARY_SIZE) return true;
  if (!reported.has(manifest.version)) {
    reported.add(manifest.version);
    log.warn("model not served: it uses a different vocabulary than the edge", {
      model: manifest.name,
      version: manifest.version,
    });
  }
  return false;
}

/** Models available to the owner of a key, most recently announced first. */
export async function listModels(
  hubs: Hubs,
  keyName: string,
  log: Logger,
): Promise<readonly ModelManifest[]> {
  const shard = hubs.shardOfKey(keyName);
  let cache = caches.get(hubs.namespace);
  if (cache === undefined) caches.set(hubs.namespace, (cache = new Map()));
  const known = cache.get(shard);
  if (known !== undefined && known.until > Date.now()) return known.models;
  const models: ModelManifest[] = [];
  for (const manifest of await hubs.ofShard(shard).models()) {
    if (isServed(manifest, log)) models.push(manifest);
  }
  models.sort((a, b) => b.announcedAt - a.announcedAt);
  cache.set(shard, { until: Date.now() + (models.length === 0 ? EMPTY_CACHE_MS : CACHE_MS), models });
  return models;
}

/**
 * The model that `reference` names: a version (64 hexadecimal digits), `owner/name` (its newest version), or
 * `owner/name:version`; undefined means the default. Returns undefined if there is no such model.
 * Throws a VqdError (no_worker) if no model is known at all.
 */
export function resolveModel(
  models: readonly ModelManifest[],
  reference: string | undefined,
  defaultModel: string | undefined,
): ModelManifest | undefined {
  const [newest] = models;
  if (newest === undefined) {
    throw new VqdError("no_worker", "no model is available yet: no worker has announced one", {
      retryable: true,
      retryAfterSeconds: NO_MODEL_RETRY_SECONDS,
    });
  }
  const wanted = reference ?? defaultModel;
  if (wanted === undefined) return newest;
  if (VERSION_PATTERN.test(wanted)) return models.find(({ version }) => version === wanted);
  const [name, version, ...rest] = wanted.split(":");
  if (rest.length > 0) return undefined;
  return models.find((model) => model.name === name && (version === undefined || model.version === version));
}
