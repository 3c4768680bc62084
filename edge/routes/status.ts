// Health for probes; the status of the service for everybody, and in detail for those who run it.

import { errorFields } from "@vqd/shared/log.ts";
import type { AppContext } from "../http/context.ts";
import { listModels } from "../service/models.ts";
import { overall, serviceStatus, STATUS_CACHE_MS } from "../service/status.ts";

/** How many wait is told to everybody as one of these numbers: the largest that it reaches. */
const COARSE = [1_000, 100, 20, 5, 1, 0] as const;

/** `GET /healthz`: 200 if NATS is connected and a model has been announced, else 503; the body says what is missing. */
export async function getHealth(c: AppContext): Promise<Response> {
  c.header("cache-control", "no-store");
  const hubs = c.get("hubs");
  try {
    const { nats, live } = await hubs.ofShard(0).health();
    // Any hub will do: all of them see the same models.
    const { versions: models } = await listModels(hubs, 0);
    const isReady = nats === "connected" && models.length > 0;
    return c.json(
      {
        status: isReady ? "ready" : "unavailable",
        hub: "ok",
        nats,
        live_predictions: live,
        models: models.map(({ name, version }) => ({ name, version })),
      },
      isReady ? 200 : 503,
    );
  } catch (error) {
    c.get("log").error("the hub does not respond", errorFields(error));
    return c.json(
      { status: "unavailable", hub: "failed", nats: "unknown", live_predictions: 0, models: [] },
      503,
    );
  }
}

const isoOrNull = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());
/** Two digits are all that a median of few runs is good for. */
const rounded = (seconds: number | null): number | null =>
  seconds === null ? null : Number(seconds.toPrecision(2));

/** `GET /v1/status`, for everybody: nothing of any owner, and of the queue a coarse number only. */
export async function getStatus(c: AppContext): Promise<Response> {
  const status = await serviceStatus(c.get("hubs"), c.get("log"));
  c.header("cache-control", `public, max-age=${STATUS_CACHE_MS / 1_000}`);
  return c.json({
    object: "status",
    status: overall(status),
    checked_at: isoOrNull(status.checkedAt),
    nats: status.nats,
    hubs: status.hubs,
    models: status.versions
      .filter(({ model }) => model.share > 0)
      .map(({ model, workers, waiting, secondsPerImage }) => {
        const waits = waiting.high + waiting.normal + waiting.low;
        return {
          model: model.name,
          version: model.version,
          workers,
          waiting_at_least: COARSE.find((least) => waits >= least) ?? 0,
          seconds_per_image: rounded(secondsPerImage),
        };
      }),
  });
}

/** `GET /v1/queue`: the same of every version in numbers, over all owners. */
export async function getQueue(c: AppContext): Promise<Response> {
  const status = await serviceStatus(c.get("hubs"), c.get("log"));
  c.header("cache-control", "no-store");
  return c.json({
    object: "list",
    status: overall(status),
    checked_at: isoOrNull(status.checkedAt),
    nats: status.nats,
    hubs: status.hubs,
    data: status.versions.map(({ model, ...version }) => ({
      model: model.name,
      version: model.version,
      share: model.share,
      workers: version.workers,
      workers_with_room: version.withRoom,
      last_heard_at: isoOrNull(version.heardAt),
      running: version.running,
      waiting: version.waiting,
      seconds_per_image_step: version.secondsPerImageStep,
      seconds_per_image: rounded(version.secondsPerImage),
      announced_at: isoOrNull(model.announcedAt),
      slots: model.device?.slots ?? null,
    })),
  });
}
