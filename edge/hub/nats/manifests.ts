// The models that workers have announced, copied to SQLite so that requests can be validated without NATS.

import type { JetStreamManager } from "@nats-io/jetstream";
import { decodeManifest } from "@vqd/shared/codec.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { type ModelManifest, modelKey, modelManifestSchema } from "@vqd/shared/model.ts";
import { modelKeyOf, MODELS_FILTER, modelSubject, STREAMS } from "@vqd/shared/subjects.ts";
import { sha256Hex } from "../../util/bytes.ts";
import { type AnnouncedModel, checkTokenizer, needsNoTokenizer } from "../../tokenizer/announced.ts";
import type { KnownRoute } from "../../prediction/records.ts";
import type { HubMetrics } from "../metrics.ts";
import type { RouteTable } from "./routes.ts";
import type { NatsSession } from "./session.ts";

/** Age at which the copy is refreshed from the stream, which also drops removed models. */
const MODELS_STALE_MS = 10_000;
/** Delay between an announcement and reading it from the stream; several in quick succession are read together. */
const HEARD_MS = 50;
/** Maximum number of announcements read one by one; beyond that, the next request reads the whole stream. */
const MAX_HEARD = 32;
/**
 * After a model's tokenizer has been read, its announcements are left to the next refresh for this long: checking one takes up
 * to a tenth of a second, and a worker can announce thousands.
 */
const TOKENIZER_REST_MS = 5_000;

/** What requests can be for. */
export interface ModelCatalog {
  /** Those that are announced and not retired. */
  readonly models: readonly AnnouncedModel[];
  readonly routes: readonly KnownRoute[];
}

export class ModelRegistry {
  readonly #sql: SqlStorage;
  readonly #metrics: HubMetrics;
  readonly #log: Logger;
  readonly #routes: RouteTable;
  readonly #models = new Map<string, AnnouncedModel>();
  /** Announced keys that have yet to be read. */
  readonly #heard = new Set<string>();
  /** Sequence of the last rejected message by key, so that each is reported only once. */
  readonly #refused = new Map<string, number>();
  /** When a model's tokenizer was last read. */
  readonly #tokenizerReadAt = new Map<string, number>();
  #checks: Promise<unknown> = Promise.resolve();
  #syncing: Promise<void> | undefined;
  #syncedAt = 0;
  /** What the stream was when it was last read: messages with tokenizers are large, and rarely new. */
  #syncedState = "";

  constructor(storage: DurableObjectStorage, routes: RouteTable, metrics: HubMetrics, log: Logger) {
    this.#sql = storage.sql;
    this.#routes = routes;
    this.#metrics = metrics;
    this.#log = log;
    const stored = this.#sql.exec<{ model_key: string; manifest: string; tokenizer_id: string | null }>(
      "SELECT model_key, manifest, tokenizer_id FROM models",
    );
    for (const { model_key: key, manifest, tokenizer_id: tokenizerId } of stored) {
      // An earlier release may have stored a manifest that this one rejects.
      const { data } = modelManifestSchema.safeParse(JSON.parse(manifest));
      if (data === undefined || modelKey(data) !== key) continue;
      if (tokenizerId !== null || needsNoTokenizer(data)) this.#models.set(key, { ...data, tokenizerId });
    }
  }

  /** The models and routes, refreshed if the copy is stale; the last known ones if `open` fails. */
  async current(open: () => Promise<NatsSession>): Promise<ModelCatalog> {
    try {
      const { jsm } = await open();
      if (Date.now() - this.#syncedAt > MODELS_STALE_MS) await this.sync(jsm);
    } catch (error) {
      this.#log.warn("NATS unreachable; using the last known models", errorFields(error));
    }
    const models = [...this.#models.values()].filter((model) => !this.#routes.isRetired(model));
    return { models, routes: this.#routes.all };
  }

  get(key: string): ModelManifest | undefined {
    return this.#models.get(key);
  }

  /** The announcement of a tokenizer; null if no model has it any more. */
  tokenizer(id: string): Uint8Array<ArrayBuffer> | null {
    const query = "SELECT tokenizer FROM models WHERE tokenizer_id = ? LIMIT 1";
    const [row] = this.#sql.exec<{ tokenizer: ArrayBuffer }>(query, id).toArray();
    return row === undefined ? null : new Uint8Array(row.tokenizer);
  }

  /** Subscribes to announcements and routes for as long as the connection lasts. */
  follow(session: NatsSession): void {
    const { nc, jsm } = session;
    this.#routes.follow(session);
    nc.subscribe(MODELS_FILTER, {
      callback: (error, message) => {
        if (error !== null) this.#log.warn("cannot follow model announcements", errorFields(error));
        else this.#hear(jsm, message.subject);
      },
    });
  }

  /** Makes the copy match the stream. A model whose latest manifest is rejected stays as it was. */
  sync(jsm: JetStreamManager): Promise<void> {
    this.#syncing ??= this.#sync(jsm).finally(() => (this.#syncing = undefined));
    return this.#syncing;
  }

  async #sync(jsm: JetStreamManager): Promise<void> {
    const info = await jsm.streams.info(STREAMS.models, { subjects_filter: ">" });
    const keys = new Set(Object.keys(info.state.subjects ?? {}).map(modelKeyOf));
    const state = `${info.created} ${info.state.last_seq}`;
    if (state !== this.#syncedState) await this.#readAll(jsm, keys);
    for (const known of [...this.#models.keys(), ...this.#refused.keys()]) {
      if (keys.has(known)) continue;
      this.#refused.delete(known);
      this.#tokenizerReadAt.delete(known);
      this.#models.delete(known);
      this.#sql.exec("DELETE FROM models WHERE model_key = ?", known);
    }
    this.#syncedState = state;
    await this.#routes.sync(jsm, [...this.#models.values()]);
    this.#syncedAt = Date.now();
  }

  /** Schedules reading a manifest from the stream, which knows when it arrived. */
  #hear(jsm: JetStreamManager, subject: string): void {
    const key = modelKeyOf(subject);
    if (Date.now() - (this.#tokenizerReadAt.get(key) ?? 0) < TOKENIZER_REST_MS) return;
    if (this.#heard.size >= MAX_HEARD) {
      this.#syncedAt = 0;
      return;
    }
    if (this.#heard.size === 0) {
      setTimeout(() => {
        const keys = [...this.#heard];
        this.#heard.clear();
        this.#readAll(jsm, keys)
          .then(() => this.#routes.sync(jsm, [...this.#models.values()]))
          .catch((error: unknown) => {
            this.#syncedAt = 0;
            this.#log.warn("cannot read model manifests", errorFields(error));
          });
      }, HEARD_MS);
    }
    this.#heard.add(key);
  }

  async #readAll(jsm: JetStreamManager, keys: Iterable<string>): Promise<void> {
    for (const key of keys) await this.#read(jsm, key);
  }

  /** Reads the manifest of a key from the stream, and dates it with the time at which the broker received it. */
  async #read(jsm: JetStreamManager, key: string): Promise<void> {
    const message = await jsm.direct.getMessage(STREAMS.models, { last_by_subj: modelSubject(key) });
    if (message === null) return;
    try {
      const { value: manifest, attachment: tokenizer } = decodeManifest(message.data);
      if (modelKey(manifest) !== key) throw new Error(`is for the model ${modelKey(manifest)}`);
      const tokenizerId = tokenizer.length === 0 ? null : await sha256Hex(tokenizer);
      if (tokenizerId !== null) this.#tokenizerReadAt.set(key, Date.now());
      const known = this.#models.get(key);
      const isChecked =
        tokenizerId !== null &&
        known?.tokenizerId === tokenizerId &&
        known.tokenizer.mergesSha256 === manifest.tokenizer.mergesSha256;
      if (!isChecked) await this.#check(manifest, tokenizer);
      this.#put(key, { ...manifest, tokenizerId, announcedAt: message.time.getTime() }, tokenizer);
    } catch (error) {
      if (this.#refused.get(key) === message.seq) return;
      this.#refused.set(key, message.seq);
      this.#metrics.count("vqd_hub_manifests_refused_total");
      this.#log.warn("rejected a model manifest", { key, ...errorFields(error) });
    }
  }

  /** One at a time: a vocabulary takes megabytes while it is checked. */
  #check(manifest: ModelManifest, tokenizer: Uint8Array<ArrayBuffer>): Promise<void> {
    const check = this.#checks.then(() => checkTokenizer(manifest, tokenizer));
    this.#checks = check.catch(() => undefined);
    return check;
  }

  #put(key: string, model: AnnouncedModel, tokenizer: Uint8Array<ArrayBuffer>): void {
    const known = this.#models.get(key);
    this.#models.set(key, model);
    const { tokenizerId, ...manifest } = model;
    this.#sql.exec(
      `INSERT INTO models (model_key, manifest) VALUES (?1, ?2)
       ON CONFLICT (model_key) DO UPDATE SET manifest = ?2`,
      key,
      JSON.stringify(manifest),
    );
    if (known?.tokenizerId === tokenizerId) return;
    this.#sql.exec(
      "UPDATE models SET tokenizer_id = ?2, tokenizer = ?3 WHERE model_key = ?1",
      key,
      tokenizerId,
      tokenizer.buffer,
    );
  }
}
