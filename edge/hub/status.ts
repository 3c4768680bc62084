// What a hub says of itself and of the workers, for health checks and the status page.

import { JetStreamApiError } from "@nats-io/jetstream";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { jobConsumer, STREAMS } from "@vqd/shared/subjects.ts";
import type { HubHealth, HubWorkers, HubWorkload, RoomAtWorkers } from "../prediction/records.ts";
import type { HubConnection } from "./nats/connection.ts";
import type { ModelRegistry } from "./nats/manifests.ts";
import type { PredictionStore } from "./storage/store.ts";

/** How long the result of a check of NATS is reused. */
const HEALTH_CACHE_MS = 1_000;
/** The same of the queues, and of a refusal to look at them: credentials of an older release do not allow it. */
const WORKERS_CACHE_MS = 4_000;
const REFUSED_CACHE_MS = 60_000;
/** Most queues that are looked at. */
const MAX_QUEUES = 64;

export interface HubStatusOptions {
  readonly store: PredictionStore;
  readonly models: ModelRegistry;
  readonly connection: () => HubConnection;
  readonly log: Logger;
}

export class HubStatus {
  readonly #options: HubStatusOptions;
  #checkedAt = -Infinity;
  #checked: Promise<HubHealth["nats"]> = Promise.resolve("unreachable");
  #askAgainAt = -Infinity;
  #asked: Promise<RoomAtWorkers[]> = Promise.resolve([]);
  /** When a worker with room was last seen, by version. Lost with the hub, like the next. */
  readonly #seenAt = new Map<string, number>();
  /** When a worker last said something of a prediction, by version. */
  readonly #heardAt = new Map<string, number>();

  constructor(options: HubStatusOptions) {
    this.#options = options;
  }

  /** Call with the version of each prediction that a worker says something of, and when: it may be read much later. */
  noteHeard(version: string, at: number): void {
    this.#heardAt.set(version, Math.max(this.#heardAt.get(version) ?? 0, Math.min(at, Date.now())));
  }

  async health(): Promise<HubHealth> {
    return { nats: await this.#check(), live: this.#options.store.liveCount() };
  }

  /** Opens no connection to NATS. */
  workload(): HubWorkload {
    const { store, connection } = this.#options;
    const { workload } = store;
    const [live, paces] = [workload.live(), workload.paces()];
    const versions = new Set([...live.keys(), ...paces.keys(), ...this.#heardAt.keys()]);
    return {
      isCutOff: !connection().isOpen && store.liveCount() > 0,
      versions: [...versions].map((version) => ({
        version,
        waiting: live.get(version)?.waiting ?? { high: 0, normal: 0, low: 0 },
        running: live.get(version)?.running ?? 0,
        pace: paces.get(version) ?? null,
        heardAt: this.#heardAt.get(version) ?? null,
      })),
    };
  }

  /** Whether NATS takes jobs, and where workers wait for some. */
  async workers(): Promise<HubWorkers> {
    const nats = await this.#check();
    return { nats, room: nats === "connected" ? await this.#room() : [] };
  }

  /** Anyone may ask, so JetStream is asked at most once a second. */
  #check(): Promise<HubHealth["nats"]> {
    const now = Date.now();
    if (now - this.#checkedAt >= HEALTH_CACHE_MS) {
      this.#checkedAt = now;
      this.#checked = this.#options.connection().check();
    }
    return this.#checked;
  }

  #room(): Promise<RoomAtWorkers[]> {
    const now = Date.now();
    if (now >= this.#askAgainAt) {
      this.#askAgainAt = now + WORKERS_CACHE_MS;
      this.#asked = this.#askQueues().catch((error: unknown) => {
        this.#askAgainAt = Date.now() + REFUSED_CACHE_MS;
        this.#options.log.warn("cannot look at the queues of jobs", errorFields(error));
        return [];
      });
    }
    return this.#asked;
  }

  /**
   * A worker with room has a request waiting at each queue of its models. One whose connection has ended has none. Rejects if the
   * queues must not be looked at.
   */
  async #askQueues(): Promise<RoomAtWorkers[]> {
    const { models, connection } = this.#options;
    const { jsm } = await connection().open();
    const { models: announced } = await models.current(() => connection().open());
    const asking = announced.slice(0, MAX_QUEUES).map(async (model): Promise<RoomAtWorkers> => {
      const { version } = model;
      const workers = await jsm.consumers
        .info(STREAMS.jobs, jobConsumer(modelKey(model), "normal"))
        .then(({ num_waiting: waiting }) => waiting)
        .catch((error: unknown) => {
          // It has no queue: nobody could serve it.
          if (error instanceof JetStreamApiError && error.status === 404) return 0;
          throw error;
        });
      if (workers > 0) this.#seenAt.set(version, Date.now());
      return { version, workers, seenAt: this.#seenAt.get(version) ?? null };
    });
    return Promise.all(asking);
  }
}
