// The models that workers have announced, copied to SQLite so that requests can be validated without NATS.

import type { NatsConnection } from "@nats-io/nats-core";
import type { JetStreamManager } from "@nats-io/jetstream";
import { decodeManifest } from "@vqd/shared/codec.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { type ModelManifest, modelKey } from "@vqd/shared/model.ts";
import { STREAMS, STREAM_SUBJECTS } from "@vqd/shared/subjects.ts";
import type { Session } from "./session.ts";

/** Age at which the copy is refreshed from the stream, which also drops removed models. */
const MODELS_STALE_MS = 10_000;

export class ModelRegistry {
  readonly #sql: SqlStorage;
  readonly #log: Logger;
  #syncedAt = 0;

  constructor(storage: DurableObjectStorage, log: Logger) {
    this.#sql = storage.sql;
    this.#log = log;
  }

  /** The models, refreshed if the copy is stale; the last known ones if `open` fails. */
  async current(open: () => Promise<Session>): Promise<ModelManifest[]> {
    try {
      const { jsm } = await open();
      if (Date.now() - this.#syncedAt > MODELS_STALE_MS) await this.sync(jsm);
    } catch (error) {
      this.#log.warn("NATS unreachable; using the last known models", errorFields(error));
    }
    return this.list();
  }

  list(): ModelManifest[] {
    return this.#sql
      .exec<{ manifest: string }>("SELECT manifest FROM models ORDER BY model_key")
      .toArray()
      .map(({ manifest }) => JSON.parse(manifest) as ModelManifest);
  }

  put(manifest: ModelManifest): void {
    this.#sql.exec(
      `INSERT INTO models (model_key, manifest) VALUES (?1, ?2)
       ON CONFLICT (model_key) DO UPDATE SET manifest = ?2`,
      modelKey(manifest),
      JSON.stringify(manifest),
    );
  }

  /** Subscribes to announcements for as long as the connection lasts. */
  follow(nc: NatsConnection): void {
    nc.subscribe(STREAM_SUBJECTS.models, {
      callback: (error, message) => {
        if (error !== null) this.#log.warn("cannot follow model announcements", errorFields(error));
        else this.#decode(message.subject, message.data, (manifest) => this.put(manifest));
      },
    });
  }

  /** Makes the copy match the stream. */
  async sync(jsm: JetStreamManager): Promise<void> {
    const info = await jsm.streams.info(STREAMS.models, { subjects_filter: ">" });
    const manifests: ModelManifest[] = [];
    for (const subject of Object.keys(info.state.subjects ?? {})) {
      const message = await jsm.direct.getMessage(STREAMS.models, { last_by_subj: subject });
      if (message !== null) this.#decode(subject, message.data, (manifest) => manifests.push(manifest));
    }
    const keys = new Set(manifests.map(modelKey));
    for (const known of this.list()) {
      if (!keys.has(modelKey(known))) {
        this.#sql.exec("DELETE FROM models WHERE model_key = ?", modelKey(known));
      }
    }
    for (const manifest of manifests) this.put(manifest);
    this.#syncedAt = Date.now();
  }

  #decode(subject: string, data: Uint8Array, use: (manifest: ModelManifest) => void): void {
    try {
      use(decodeManifest(data));
    } catch (error) {
      this.#log.warn("ignoring an unreadable model manifest", { subject, ...errorFields(error) });
    }
  }
}
