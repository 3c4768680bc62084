// The models that this edge serves, and which version of which of them a request refers to.

import { VqdError } from "@vqd/shared/errors.ts";
import { VERSION_PATTERN } from "@vqd/shared/model.ts";
import { shareOf, versionFor } from "@vqd/shared/routing/route.ts";
import type { AnnouncedModel } from "../tokenizer/announced.ts";
import type { Config } from "../config.ts";
import type { ModelCatalog } from "../hub/nats/manifests.ts";
import type { KnownRoute } from "../prediction/records.ts";
import type { Hubs } from "./hubs.ts";

/** How long an isolate caches the hub's list. */
const CACHE_MS = 3_000;
/** An empty list is cached for less: the first worker may just be starting. */
const EMPTY_CACHE_MS = 500;
const NO_MODEL_RETRY_SECONDS = 5;

export interface ServedModel extends AnnouncedModel {
  /** The part of the requests for its name that it gets, from 0 to 1. */
  readonly share: number;
}

export interface Models {
  /** Begins with the name whose route was written last, and of each name with the version that has the largest share. */
  readonly versions: readonly ServedModel[];
  readonly routes: ReadonlyMap<string, KnownRoute>;
}

/** By shard. */
const caches = new WeakMap<Hubs["namespace"], Map<number, { until: number; models: Models }>>();

/** The models that the hub of a shard knows of; by default that of the request's owner. */
export async function listModels(hubs: Hubs, shard = hubs.home): Promise<Models> {
  let cache = caches.get(hubs.namespace);
  if (cache === undefined) caches.set(hubs.namespace, (cache = new Map()));
  const known = cache.get(shard);
  if (known !== undefined && known.until > Date.now()) return known.models;
  const models = inOrder(await hubs.ofShard(shard).models());
  const isEmpty = models.versions.length === 0;
  cache.set(shard, { until: Date.now() + (isEmpty ? EMPTY_CACHE_MS : CACHE_MS), models });
  return models;
}

/** While a name has no route, which is until a hub has written the first, its newest version is served. */
export function inOrder(catalog: ModelCatalog): Models {
  const routes = new Map(catalog.routes.map((route) => [route.name, route]));
  const newestFirst = catalog.models.toSorted((a, b) => b.announcedAt - a.announcedAt);
  const newest = new Map<string, AnnouncedModel>();
  for (const model of newestFirst) if (!newest.has(model.name)) newest.set(model.name, model);
  const share = (model: AnnouncedModel): number => {
    const route = routes.get(model.name);
    if (route !== undefined) return shareOf(route, model.version);
    return newest.get(model.name) === model ? 1 : 0;
  };
  const decidedAt = ({ name }: AnnouncedModel): number =>
    routes.get(name)?.writtenAt ?? newest.get(name)?.announcedAt ?? 0;
  const served = (model: AnnouncedModel): ServedModel => ({ ...model, share: share(model) });
  const versions = newestFirst
    .map(served)
    .toSorted((a, b) => decidedAt(b) - decidedAt(a) || a.name.localeCompare(b.name) || b.share - a.share);
  return { versions, routes };
}

/** One version of each model: the one with the largest share. */
export function mainVersions({ versions }: Models): ServedModel[] {
  const main = new Map<string, ServedModel>();
  for (const model of versions) if (!main.has(model.name)) main.set(model.name, model);
  return [...main.values()];
}

/** How to choose among the versions that share a name's requests. */
export interface Choice {
  /** The same key always gets the same version. */
  readonly key: string;
  /** The version to take if the name has it. */
  readonly preferred?: string | undefined;
}

/**
 * The model that `reference` names: a version (64 hexadecimal digits), `owner/name`, `owner/name:version`, or an alias of one
 * of these; undefined means the default. A name alone stands for what its route says: by `choice`, or without one for the
 * version with the largest share. Returns undefined if there is no such model, or it is retired (`retirementOf`). Throws a
 * VqdError (no_worker) if no model is known at all, or none of the versions to choose from.
 */
export function resolveModel(
  models: Models,
  reference: string | undefined,
  { defaultModel, modelAliases }: Pick<Config, "defaultModel" | "modelAliases">,
  choice?: Choice,
): ServedModel | undefined {
  const [first] = models.versions;
  if (first === undefined) throw noWorker("no model is available yet: no worker has announced one");
  const wanted = reference ?? defaultModel ?? first.name;
  const alias = modelAliases.get(wanted);
  return named(models, wanted, choice) ?? (alias === undefined ? undefined : named(models, alias, choice));
}

function named(models: Models, wanted: string, choice: Choice | undefined): ServedModel | undefined {
  const { versions } = models;
  if (VERSION_PATTERN.test(wanted)) return versions.find(({ version }) => version === wanted);
  const [name, version, ...rest] = wanted.split(":");
  if (rest.length > 0) return undefined;
  const ofName = versions.filter((model) => model.name === name);
  if (version !== undefined) return ofName.find((model) => model.version === version);
  const preferred = ofName.find((model) => model.version === choice?.preferred);
  if (preferred !== undefined || choice === undefined) return preferred ?? ofName[0];
  return chosen(ofName, name === undefined ? undefined : models.routes.get(name), choice.key);
}

/** One of a name's announced versions, according to the route. */
function chosen(
  versions: readonly ServedModel[],
  route: KnownRoute | undefined,
  key: string,
): ServedModel | undefined {
  if (route === undefined || versions.length === 0) return versions[0];
  const of = (wanted: string | undefined) => versions.find(({ version }) => version === wanted);
  const shares = route.shares.filter(({ version }) => of(version) !== undefined);
  const model = of(versionFor(shares, `${route.name} ${key}`));
  if (model !== undefined) return model;
  const [missing] = route.shares;
  throw noWorker(
    `no worker has announced version ${missing?.version.slice(0, 12)} of ${route.name}, which is to serve it; vqd models promote lets another serve it`,
  );
}

const noWorker = (message: string): VqdError =>
  new VqdError("no_worker", message, { retryable: true, retryAfterSeconds: NO_MODEL_RETRY_SECONDS });

/** Says of a reference for which `resolveModel` has found nothing that it names a retired version; undefined if it does not. */
export function retirementOf(
  { routes }: Models,
  reference: string | undefined,
  { modelAliases }: Pick<Config, "modelAliases">,
): string | undefined {
  if (reference === undefined) return undefined;
  const version = (modelAliases.get(reference) ?? reference).split(":").at(-1) ?? "";
  const route = [...routes.values()].find(({ retired }) => retired.includes(version));
  if (route === undefined) return undefined;
  return `is a version of ${route.name} that has been retired; see GET /v1/models/${route.name}/versions`;
}
