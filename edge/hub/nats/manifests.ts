// The models that workers have announced, copied to SQLite so that requests can be validated without NATS.

import type { JetStreamManager } from "@nats-io/jetstream";
import { decodeManifest } from "@vqd/shared/codec.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { type ModelManifest, modelKey, modelManifestSchema } from "@vqd/shared/model.ts";
import { modelKeyOf, MODELS_FILTER, modelSubject, STREAMS } from "@vqd/shared/subjects.ts";
import type { HubMetrics } from "../metrics.ts";
import type { Session } from "./session.ts";

/** Age at which the copy is refreshed from the stream, which also drops removed models. */
const MODELS_STALE_MS = 10_000;
/** Delay between an announcement and reading it from the stream; several in quick succession are read together. */
const HEARD_MS = 50;
/** Maximum number of announcements read one by one; beyond that, the next request reads the whole stream. */
const MAX_HEARD = 32;

export class ModelRegistry {
  readonly #sql: SqlStorage;
  readonly #metrics: HubMetrics;
  readonly #log: Logger;
  readonly #models = new Map<string, ModelManifest>();
  /** Announced keys that have yet to be read. */
  readonly #heard = new Set<string>();
  /** Sequence of the last rejected message by key, so that each is reported only once. */
  readonly #refused = new Map<string, number>();
  #syncedAt = 0;

  constructor(storage: DurableObjectStorage, metrics: HubMetrics, log: Logger) {
    this.#sql = storage.sql;
    this.#metrics = metrics;
    this.#log = log;
    const stored = this.#sql.exec<{ model_key: string; manifest: string }>("SELECT * FROM models");
    for (const { model_key: key, manifest } of stored) {
      // An earlier release may have stored a manifest that this one rejects.
      const { data } = modelManifestSchema.safeParse(JSON.parse(manifest));
      if (data !== undefined && modelKey(data) === key) this.#models.set(key, data);
    }
  }

  /** The models, refreshed if the copy is stale; the last known ones if `open` fails. */
  async current(open: () => Promise<Session>): Promise<ModelManifest[]> {
    try {
      const { jsm } = await open();
      if (Date.now() - this.#syncedAt > MODELS_STALE_MS) await this.sync(jsm);
    } catch (error) {
      this.#log.warn("NATS unreachable; using the last known models", errorFields(error));
    }
    return [...this.#models.values()];
  }

  get(key: string): ModelManifest | undefined {
    return this.#models.get(key);
  }

  /** Subscribes to announcements for as long as the connection lasts. */
  follow({ nc, jsm }: Session): void {
    nc.subscribe(MODELS_FILTER, {
      callback: (error, message) => {
        if (error !== null) this.#log.warn("cannot follow model announcements", errorFields(error));
        else this.#hear(jsm, message.subject);
      },
    });
  }

  /** Makes the copy match the stream. A model whose latest manifest is rejected stays as it was. */
  async sync(jsm: JetStreamManager): Promise<void> {
    const info = await jsm.streams.info(STREAMS.models, { subjects_filter: ">" });
    const keys = new Set(Object.keys(info.state.subjects ?? {}).map(modelKeyOf));
    for (const key of keys) await this.#read(jsm, key);
    for (const known of [...this.#models.keys(), ...this.#refused.keys()]) {
      if (keys.has(known)) continue;
      this.#refused.delete(known);
      this.#models.delete(known);
      this.#sql.exec("DELETE FROM models WHERE model_key = ?", known);
    }
    this.#syncedAt = Date.now();
  }

  /** Schedules reading a manifest from the stream, which knows when it arrived. */
  #hear(jsm: JetStreamManager, subject: string): void {
    if (this.#heard.size >= MAX_HEARD) {
      this.#syncedAt = 0;
      return;
    }
    if (this.#heard.size === 0) {
      setTimeout(() => {
        const keys = [...this.#heard];
        this.#heard.clear();
        Promise.all(keys.map((key) => this.#read(jsm, key))).catch((error: unknown) => {
          this.#syncedAt = 0;
          this.#log.warn("cannot read model manifests", errorFields(error));
        });
      }, HEARD_MS);
    }
    this.#heard.add(modelKeyOf(subject));
  }

  /** Reads the manifest of a key from the stream, and dates it with the time at which the broker received it. */
  async #read(jsm: JetStreamManager, key: string): Promise<void> {
    const message = await jsm.direct.getMessage(STREAMS.models, { last_by_subj: modelSubject(key) });
    if (message === null) return;
    try {
      const manifest = decodeManifest(message.data);
      if (modelKey(manifest) !== key) throw new Error(`is for the model ${modelKey(manifest)}`);
      this.#put(key, { ...manifest, announcedAt: message.time.getTime() });
    } catch (error) {
      if (this.#refused.get(key) === message.seq) return;
      this.#refused.set(key, message.seq);
      this.#metrics.count("vqd_hub_manifests_refused_total");
      this.#log.warn("rejected a model manifest", { key, ...errorFields(error) });
    }
  }

  #put(key: string, manifest: ModelManifest): void {
    this.#models.set(key, manifest);
    this.#sql.exec(
      `INSERT INTO models (model_key, manifest) VALUES (?1, ?2)
       ON CONFLICT (model_key) DO UPDATE SET manifest = ?2`,
      key,
      JSON.stringify(manifest),
    );
  }
}
