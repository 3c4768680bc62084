// How the service is: of each version of its models whether workers serve it, what waits, and how fast it is; over all hubs.

import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { PRESETS } from "@vqd/shared/sampling/presets.ts";
import { type Priority, PRIORITIES } from "@vqd/shared/subjects.ts";
import type { HubHealth, HubWorkers, HubWorkload, Pace } from "../prediction/records.ts";
import type { Hubs } from "./hubs.ts";
import { listModels, type ServedModel } from "./models.ts";
import { DEFAULTS } from "./schemas.ts";

/** How long an isolate answers with what it knows: anyone may ask. */
export const STATUS_CACHE_MS = 5_000;
/** Longer than a question to the hubs takes. */
const ASKING_MS = 3_000;
/** A worker with room renews its request every 10 s. */
const ROOM_MS = 15_000;
/** A worker that is busy says something with every step; those of large models on a CPU take seconds. */
const HEARD_MS = 45_000;

export type WorkerState = "alive" | "none" | "unknown";

export interface VersionStatus {
  readonly model: ServedModel;
  readonly workers: WorkerState;
  /** Workers that could take a job now; null if that is not known. */
  readonly withRoom: number | null;
  /** When a worker was last heard of, as Unix time in ms. */
  readonly heardAt: number | null;
  readonly running: number;
  readonly waiting: Readonly<Record<Priority, number>>;
  readonly secondsPerImageStep: number | null;
  /** What an image takes with the default settings, by that. */
  readonly secondsPerImage: number | null;
}

export interface ServiceStatus {
  /** Unix time in ms. */
  readonly checkedAt: number;
  readonly nats: HubHealth["nats"] | "unknown";
  readonly hubs: { readonly total: number; readonly answering: number; readonly cut_off: number };
  /** In the order of the list of models; those that are not served any more are left out. */
  readonly versions: readonly VersionStatus[];
}

interface Cached {
  readonly status: ServiceStatus;
  readonly until: number;
  /** Until when whoever found it too old may take to ask; others get the old one meanwhile. */
  askedUntil: number;
}

const caches = new WeakMap<Hubs["namespace"], Cached>();

/** The status, which may be some seconds old. Never rejects. */
export async function serviceStatus(hubs: Hubs, log: Logger): Promise<ServiceStatus> {
  const now = Date.now();
  const known = caches.get(hubs.namespace);
  if (known !== undefined) {
    if (known.until > now || known.askedUntil > now) return known.status;
    known.askedUntil = now + ASKING_MS;
  }
  // Nobody waits for a question of another request, which ends when its client leaves.
  const status = await askAll(hubs, log);
  caches.set(hubs.namespace, { status, until: Date.now() + STATUS_CACHE_MS, askedUntil: 0 });
  return status;
}

async function askAll(hubs: Hubs, log: Logger): Promise<ServiceStatus> {
  const failed = (error: unknown): undefined => {
    log.warn("a hub does not say how it is", errorFields(error));
  };
  // Any hub knows the models and their queues.
  const [workers, models, loads] = await Promise.all([
    hubs.ofShard(0).workers().catch(failed),
    listModels(hubs, 0).catch(failed),
    hubs.ofAll((hub) => hub.workload().catch(failed)),
  ]);
  const answers = loads.filter((load) => load !== undefined);
  const now = Date.now();
  return {
    checkedAt: now,
    nats: workers?.nats ?? "unknown",
    hubs: {
      total: hubs.shards,
      answering: answers.length,
      cut_off: answers.filter(({ isCutOff }) => isCutOff).length,
    },
    versions: unlessBusy(
      (models?.versions ?? []).map((model) => versionStatus(model, workers, answers, now)),
    ),
  };
}

/**
 * A worker of several models that is busy with one of them waits for jobs of none. So as long as workers are at work and none has
 * room, nobody knows whether they serve the other models, too.
 */
export function unlessBusy(versions: readonly VersionStatus[]): VersionStatus[] {
  const isWorking = versions.some(({ workers, running }) => workers === "alive" && running > 0);
  const hasRoom = versions.some(({ withRoom }) => withRoom !== null && withRoom > 0);
  if (!isWorking || hasRoom) return [...versions];
  return versions.map((version) =>
    version.workers === "none" ? Object.assign({}, version, { workers: "unknown" }) : version,
  );
}

function versionStatus(
  model: ServedModel,
  workers: HubWorkers | undefined,
  loads: readonly HubWorkload[],
  now: number,
): VersionStatus {
  const own = loads.flatMap(({ versions }) => versions.filter(({ version }) => version === model.version));
  const room = workers?.room.find(({ version }) => version === model.version);
  const seenAt = room?.seenAt ?? null;
  const heardAt = latest(own.map((load) => load.heardAt));
  const isAlive = isWithin(seenAt, ROOM_MS, now) || isWithin(heardAt, HEARD_MS, now);
  const pace = mostTelling(own.map((load) => load.pace));
  const steps = Math.min(PRESETS[DEFAULTS.preset].numInferenceSteps, model.numTrainTimesteps);
  const sum = (count: (load: (typeof own)[number]) => number): number =>
    own.reduce((total, load) => total + count(load), 0);
  return {
    model,
    workers: isAlive ? "alive" : room === undefined ? "unknown" : "none",
    withRoom: room?.workers ?? null,
    heardAt: latest([heardAt, seenAt]),
    running: sum(({ running }) => running),
    waiting: Object.fromEntries(
      PRIORITIES.map((priority) => [priority, sum(({ waiting }) => waiting[priority])]),
    ) as Record<Priority, number>,
    secondsPerImageStep: pace,
    secondsPerImage: pace === null ? null : pace * steps,
  };
}

const isWithin = (at: number | null, ms: number, now: number): boolean => at !== null && now - at < ms;

function latest(times: readonly (number | null)[]): number | null {
  const known = times.filter((at) => at !== null);
  return known.length === 0 ? null : Math.max(...known);
}

/** The pace of the hub that has had the most runs. */
function mostTelling(paces: readonly (Pace | null)[]): number | null {
  const [most] = paces.filter((pace) => pace !== null).toSorted((a, b) => b.runs - a.runs);
  return most?.secondsPerImageStep ?? null;
}

/** `unavailable`: nothing is made now; `degraded`: a model that serves requests has no worker, or a hub is not there or cut off. */
export function overall({ nats, hubs, versions }: ServiceStatus): "operational" | "degraded" | "unavailable" {
  const served = versions.filter(({ model }) => model.share > 0);
  const idle = served.filter(({ workers }) => workers === "none");
  if (nats !== "connected" || served.length === 0 || idle.length === served.length) return "unavailable";
  const isWhole = hubs.answering === hubs.total && hubs.cut_off === 0;
  return idle.length > 0 || !isWhole ? "degraded" : "operational";
}
