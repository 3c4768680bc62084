// Moves records whose retention has ended to object storage, takes deleted ones out of what is there, and deletes it by age. All of it
// is done by the alarm, one thing after another.

import { newCapability } from "@vqd/shared/ids.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { Config } from "../../config.ts";
import type { HubMetrics } from "../metrics.ts";
import { byteLength } from "../../util/bytes.ts";
import { dateOf } from "../../prediction/accounting/usage.ts";
import { fileKey, putFile } from "../storage/files.ts";
import type { PredictionRow } from "../storage/prediction-row.ts";
import type { PredictionStore } from "../storage/store.ts";
import type { ArchivePart } from "./archive-store.ts";
import { type ArchivedLine, lineOf, type LinePlace, pack, readLines } from "./lines.ts";

/** Records in an object, and bytes of their input and log after which no more are added: what is read for one of them. */
const MAX_RECORDS = 256;
const MAX_BYTES = 256 * 1024;
/** Objects that one alarm writes, replaces, and deletes because of their age; owners that it looks at. */
const WRITES = 8;
const DELETIONS = 100;
const OWNERS = 500;
/** Time between two looks at all owners: what waits for its day to end has no other sign. */
const PASS_MS = 3_600_000;
/** After a failure of object storage nothing is tried for that long. */
const RETRY_MS = 60_000;
/** How long a record that has been deleted may stay in its object, so that many are taken out at once. */
const STALE_MS = 60_000;
/** By then, the writing of an object has ended, or has been given up. */
const WRITING_MS = 120_000;
const DAY_MS = 86_400_000;
const CONTENT_TYPE = "application/gzip";

export interface ArchiverOptions {
  readonly store: PredictionStore;
  readonly bucket: Pick<R2Bucket, "get" | "put" | "delete">;
  readonly retention: Pick<Config, "recordRetentionMs" | "archiveRetentionMs">;
  readonly metrics: HubMetrics;
  readonly log: Logger;
}

export class Archiver {
  readonly #options: ArchiverOptions;
  /** Owners up to this one have been looked at in this pass; undefined between two passes. */
  #lookedAt: string | undefined;
  #nextPassAt = 0;
  #retryAt = 0;

  constructor(options: ArchiverOptions) {
    this.#options = options;
  }

  /** Does what is due, or a part of it: then more is due at once. */
  async run(now: number): Promise<void> {
    if (now < this.#retryAt) return;
    const { metrics, log } = this.#options;
    try {
      // Deletions first: they do not wait for what cannot be written.
      await this.#expire(now);
      await this.#emptyTrash(now);
      await this.#replaceStale(now);
      await this.#pack(now);
    } catch (error) {
      // Nothing is lost: what is not in the archive is still in the database, and what is to be deleted is noted.
      this.#retryAt = now + RETRY_MS;
      metrics.count("vqd_hub_archive_failures_total");
      log.warn("cannot archive yet; trying again later", errorFields(error));
    }
  }

  /** When there is more to do, as Unix time in ms; null for never. `oldestEnd`: of what is in the database. */
  nextAt(oldestEnd: number | null, now: number): number | null {
    const { store, retention } = this.#options;
    const { ended, stale, discarded } = store.archive.oldest();
    const times: number[] = [];
    if (ended !== null) times.push(ended + this.#keptMs);
    if (stale !== null) times.push(stale + STALE_MS);
    if (discarded !== null) times.push(discarded);
    if (this.#isOn && this.#lookedAt !== undefined) times.push(now);
    else if (this.#isOn && oldestEnd !== null) {
      times.push(Math.max(this.#nextPassAt, oldestEnd + retention.recordRetentionMs));
    }
    return times.length === 0 ? null : Math.max(this.#retryAt, Math.min(...times));
  }

  get #isOn(): boolean {
    return this.#options.retention.archiveRetentionMs !== undefined;
  }

  /** Where no archives are made any more, those of before are as old as a record may be. */
  get #keptMs(): number {
    const { archiveRetentionMs, recordRetentionMs } = this.#options.retention;
    return archiveRetentionMs ?? recordRetentionMs;
  }

  async #pack(now: number): Promise<void> {
    if (!this.#isOn || (this.#lookedAt === undefined && now < this.#nextPassAt)) return;
    const { store, retention } = this.#options;
    this.#lookedAt ??= "";
    let writes = 0;
    for (const owner of store.archive.ownersAfter(this.#lookedAt, OWNERS)) {
      for (;;) {
        const rows = nextRows(store, owner, now - retention.recordRetentionMs);
        if (rows.length === 0) break;
        if (writes++ === WRITES) return;
        await this.#archive(owner, rows, now);
      }
      this.#lookedAt = owner;
    }
    if (store.archive.ownersAfter(this.#lookedAt, 1).length > 0) return;
    this.#lookedAt = undefined;
    this.#nextPassAt = now + PASS_MS;
  }

  async #archive(owner: string, rows: readonly PredictionRow[], now: number): Promise<void> {
    const { store, metrics } = this.#options;
    const { archive } = store;
    await this.#put(owner, rows.map(lineOf), now, (places, name, bytes) => {
      // Its owner may have deleted one meanwhile. It is in the object, but not for anybody.
      const kept = places.filter(({ id }) => store.isKept(id));
      if (kept.length === 0) return false;
      const seq = archive.add(owner, name, bytes, kept);
      for (const { id } of kept) store.remove(id);
      if (kept.length < places.length) archive.markStale(seq, now);
      metrics.count("vqd_hub_records_archived_total", undefined, kept.length);
      return true;
    });
  }

  async #replaceStale(now: number): Promise<void> {
    const { archive } = this.#options.store;
    for (const part of archive.stale(now - STALE_MS, WRITES)) await this.#replace(part, now);
  }

  /** Writes an object without the records that have been deleted, in place of the one with them. */
  async #replace(part: ArchivePart, now: number): Promise<void> {
    const { store } = this.#options;
    const { archive } = store;
    const all = await this.#read(part);
    const lines = all?.filter(({ place }) => archive.isIn(place.id, part.seq)) ?? [];
    if (lines.length === 0) {
      store.atomically(() => {
        archive.remove(part, all === undefined);
        archive.discard(part.name, now);
      });
      return;
    }
    await this.#put(part.keyName, lines, now, (places, name, bytes) => {
      // Others may have been deleted while this was written.
      const kept = places.filter(({ id }) => archive.isIn(id, part.seq));
      if (kept.length === 0) return false;
      archive.replace(part.seq, name, bytes, kept);
      archive.discard(part.name, now);
      if (kept.length < places.length) archive.markStale(part.seq, now);
      return true;
    });
  }

  async #expire(now: number): Promise<void> {
    const { store } = this.#options;
    const { archive } = store;
    for (const part of archive.expired(now - this.#keptMs, WRITES)) {
      const lines = await this.#read(part);
      store.atomically(() => {
        archive.forget(lines?.map(({ place }) => place) ?? [], part);
        archive.remove(part, lines === undefined);
        archive.discard(part.name, now);
      });
    }
  }

  async #emptyTrash(now: number): Promise<void> {
    const { store, bucket } = this.#options;
    const names = store.archive.discarded(now, DELETIONS);
    if (names.length === 0) return;
    await bucket.delete(names);
    store.atomically(() => store.archive.undiscard(names));
  }

  /**
   * Writes an object, and then calls `commit`, which says whether it is of use, in a transaction. No name is used twice, so that
   * whatever becomes of a writing that was given up touches nothing that counts; and each is noted as to be deleted before, so that
   * no object is forgotten.
   */
  async #put(
    owner: string,
    lines: readonly ArchivedLine[],
    now: number,
    commit: (places: readonly LinePlace[], name: string, bytes: number) => boolean,
  ): Promise<void> {
    const { store, bucket } = this.#options;
    const places = lines.map(({ place }) => place);
    const name = nameOf(owner, places[0]?.createdAt ?? now);
    store.archive.discard(name, now + WRITING_MS);
    const bytes = await pack(lines);
    await putFile(bucket, name, bytes, CONTENT_TYPE);
    store.atomically(() => {
      if (commit(places, name, bytes.length)) store.archive.undiscard([name]);
    });
  }

  /** The lines of an object; undefined if it is lost or damaged. */
  async #read(part: ArchivePart): Promise<ArchivedLine[] | undefined> {
    const { bucket, log } = this.#options;
    const lines = await readLines(bucket, part.name);
    if (lines === undefined) log.error("an archive is lost or damaged", { owner: part.keyName });
    return lines;
  }
}

/** One folder for each owner and day, which a self-hosted bucket requires. */
const nameOf = (owner: string, createdAt: number): string =>
  fileKey(`archive-${owner}-${dateOf(createdAt)}`, `${newCapability()}.ndjson.gz`);

/**
 * The owner's oldest records, in the order of lists, for one object: all may be archived, and were made on one day. None while more of
 * that day may follow, unless there are enough.
 */
function nextRows(store: PredictionStore, owner: string, before: number): PredictionRow[] {
  const rows: PredictionRow[] = [];
  let bytes = 0;
  let day = "";
  for (const row of store.oldestOf(owner)) {
    day ||= dateOf(row.createdAt);
    if (dateOf(row.createdAt) !== day) return rows;
    if (row.completedAt === null || row.completedAt > before || !row.filesExpired) return [];
    rows.push(row);
    bytes += byteLength(row.inputJson) + row.logs.length;
    if (rows.length === MAX_RECORDS || bytes >= MAX_BYTES) return rows;
  }
  return Date.parse(day) + DAY_MS <= before ? rows : [];
}
