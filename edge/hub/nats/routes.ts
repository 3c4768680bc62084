// The routes of model names: which versions an operator has chosen, copied to SQLite beside the models. The first version of
// a name gets the route by itself.

import { JetStreamApiError, type JetStreamManager } from "@nats-io/jetstream";
import { decodeRoute, encodeRoute } from "@vqd/shared/codec.ts";
import { SEQUENCE_CONFLICTS } from "@vqd/shared/nats/jetstream-codes.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import { firstRoute, modelRouteSchema } from "@vqd/shared/routing/route.ts";
import { nameOfRoute, ROUTES_FILTER, routeSubject, STREAMS } from "@vqd/shared/subjects.ts";
import type { KnownRoute } from "../../prediction/records.ts";
import type { NatsSession } from "./session.ts";

/** Delays between hearing a message and reading the route: it may not be stored yet, or never be, if it came too late. */
const HEARD_MS = [50, 1_000];
/** How long to leave it after a failure: the stream or the permission is missing until the operator adds it. */
const RETRY_MS = 30_000;

type Announced = Pick<ModelManifest, "name" | "version" | "announcedAt">;

export class RouteTable {
  readonly #sql: SqlStorage;
  readonly #log: Logger;
  readonly #routes = new Map<string, KnownRoute>();
  #failedAt = -Infinity;
  /** What the stream was when it was last read. */
  #syncedState = "";

  constructor(storage: DurableObjectStorage, log: Logger) {
    this.#sql = storage.sql;
    this.#log = log;
    const stored = this.#sql.exec<{ route: string; written_at: number }>(
      "SELECT route, written_at FROM routes",
    );
    for (const { route, written_at: writtenAt } of stored) {
      const { data } = modelRouteSchema.safeParse(JSON.parse(route));
      if (data !== undefined) this.#routes.set(data.name, { ...data, writtenAt });
    }
  }

  get all(): KnownRoute[] {
    return [...this.#routes.values()];
  }

  isRetired({ name, version }: Pick<ModelManifest, "name" | "version">): boolean {
    return this.#routes.get(name)?.retired.includes(version) ?? false;
  }

  /** Subscribes to routes for as long as the connection lasts. */
  follow({ nc, jsm }: NatsSession): void {
    nc.subscribe(ROUTES_FILTER, {
      callback: (error, message) => {
        if (error !== null) {
          this.#log.warn("cannot follow the routes of models", errorFields(error));
          return;
        }
        for (const delay of HEARD_MS) setTimeout(() => void this.#hear(jsm, message.subject), delay);
      },
    });
  }

  /**
   * Makes the copy match the stream, and gives each announced name without a route its first one. Never rejects: without the
   * stream, or the permission to read it, the last known routes stay.
   */
  async sync(jsm: JetStreamManager, announced: readonly Announced[]): Promise<void> {
    if (Date.now() - this.#failedAt < RETRY_MS) return;
    try {
      await this.#readChanged(jsm);
      await this.#writeFirst(jsm, announced);
      this.#failedAt = -Infinity;
    } catch (error) {
      this.#failedAt = Date.now();
      this.#log.warn(
        "cannot read the routes of models; vqd streams apply adds their stream",
        errorFields(error),
      );
    }
  }

  async #readChanged(jsm: JetStreamManager): Promise<void> {
    const info = await jsm.streams.info(STREAMS.routes, { subjects_filter: ">" });
    const state = `${info.created} ${info.state.last_seq} ${info.state.messages}`;
    if (state === this.#syncedState) return;
    const names = new Set(Object.keys(info.state.subjects ?? {}).map(nameOfRoute));
    for (const name of names) await this.#read(jsm, name);
    for (const name of this.#routes.keys()) {
      if (names.has(name)) continue;
      this.#routes.delete(name);
      this.#sql.exec("DELETE FROM routes WHERE name = ?", name);
    }
    this.#syncedState = state;
  }

  /** All hubs try: the first to write decides, and the others read it. Of several versions the newest serves, as without routes. */
  async #writeFirst(jsm: JetStreamManager, announced: readonly Announced[]): Promise<void> {
    for (const { name, version } of announced.toSorted((a, b) => b.announcedAt - a.announcedAt)) {
      if (this.#routes.has(name)) continue;
      const route = encodeRoute(firstRoute(name, version));
      try {
        await jsm.jetstream().publish(routeSubject(name), route, { expect: { lastSubjectSequence: 0 } });
        this.#log.info("routed a new model", { model: name, version });
      } catch (error) {
        const isTaken = error instanceof JetStreamApiError && SEQUENCE_CONFLICTS.has(error.code);
        if (!isTaken) throw error;
      }
      await this.#read(jsm, name);
    }
  }

  async #hear(jsm: JetStreamManager, subject: string): Promise<void> {
    try {
      await this.#read(jsm, nameOfRoute(subject));
    } catch (error) {
      // The next refresh reads it again.
      this.#syncedState = "";
      this.#log.warn("cannot read the route of a model", { subject, ...errorFields(error) });
    }
  }

  /** Reads a name's route from the stream; one that is not a route changes nothing. */
  async #read(jsm: JetStreamManager, name: string): Promise<void> {
    const message = await jsm.direct.getMessage(STREAMS.routes, { last_by_subj: routeSubject(name) });
    if (message === null) return;
    let route;
    try {
      route = decodeRoute(message.data);
      if (route.name !== name) throw new Error(`is for the model ${route.name}`);
    } catch (error) {
      this.#log.warn("rejected the route of a model", { model: name, ...errorFields(error) });
      return;
    }
    const writtenAt = message.time.getTime();
    if (this.#routes.get(name)?.writtenAt === writtenAt) return;
    this.#routes.set(name, { ...route, writtenAt });
    this.#sql.exec(
      `INSERT INTO routes (name, route, written_at) VALUES (?1, ?2, ?3)
       ON CONFLICT (name) DO UPDATE SET route = ?2, written_at = ?3`,
      name,
      JSON.stringify(route),
      writtenAt,
    );
  }
}
