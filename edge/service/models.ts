// The models that this edge serves, and which of them a request refers to.

import { VqdError } from "@vqd/shared/errors.ts";
import { VERSION_PATTERN } from "@vqd/shared/model.ts";
import type { AnnouncedModel } from "../tokenizer/announced.ts";
import type { Config } from "../config.ts";
import type { Hubs } from "./hubs.ts";

/** How long an isolate caches the hub's list. */
const CACHE_MS = 3_000;
/** An empty list is cached for less: the first worker may just be starting. */
const EMPTY_CACHE_MS = 500;
const NO_MODEL_RETRY_SECONDS = 5;

interface CachedModels {
  readonly until: number;
  readonly models: readonly AnnouncedModel[];
}

/** By shard. */
const caches = new WeakMap<Hubs["namespace"], Map<number, CachedModels>>();

/** Models available to the owner of a key, most recently announced first. */
export async function listModels(hubs: Hubs, keyName: string): Promise<readonly AnnouncedModel[]> {
  const shard = hubs.shardOfKey(keyName);
  let cache = caches.get(hubs.namespace);
  if (cache === undefined) caches.set(hubs.namespace, (cache = new Map()));
  const known = cache.get(shard);
  if (known !== undefined && known.until > Date.now()) return known.models;
  const models = (await hubs.ofShard(shard).models()).toSorted((a, b) => b.announcedAt - a.announcedAt);
  cache.set(shard, { until: Date.now() + (models.length === 0 ? EMPTY_CACHE_MS : CACHE_MS), models });
  return models;
}

/** The newest version of each of `models`, which begin with the most recently announced. */
export function newestOfEach(models: readonly AnnouncedModel[]): AnnouncedModel[] {
  const newest = new Map<string, AnnouncedModel>();
  for (const model of models) if (!newest.has(model.name)) newest.set(model.name, model);
  return [...newest.values()];
}

/**
 * The model that `reference` names: a version (64 hexadecimal digits), `owner/name` (its newest version),
 * `owner/name:version`, or an alias of one of these; undefined means the default. Returns undefined if there is no such
 * model. Throws a VqdError (no_worker) if no model is known at all.
 */
export function resolveModel(
  models: readonly AnnouncedModel[],
  reference: string | undefined,
  { defaultModel, modelAliases }: Pick<Config, "defaultModel" | "modelAliases">,
): AnnouncedModel | undefined {
  const [newest] = models;
  if (newest === undefined) {
    throw new VqdError("no_worker", "no model is available yet: no worker has announced one", {
      retryable: true,
      retryAfterSeconds: NO_MODEL_RETRY_SECONDS,
    });
  }
  const wanted = reference ?? defaultModel;
  if (wanted === undefined) return newest;
  const alias = modelAliases.get(wanted);
  return named(models, wanted) ?? (alias === undefined ? undefined : named(models, alias));
}

function named(models: readonly AnnouncedModel[], wanted: string): AnnouncedModel | undefined {
  if (VERSION_PATTERN.test(wanted)) return models.find(({ version }) => version === wanted);
  const [name, version, ...rest] = wanted.split(":");
  if (rest.length > 0) return undefined;
  return models.find((model) => model.name === name && (version === undefined || model.version === version));
}
