// Which records are archived, in which object, in SQLite. What is in an object and not here does not exist for anybody.

import type { ListQuery } from "../../prediction/records.ts";
import type { LinePlace } from "./lines.ts";

/** An object with records of one owner, from the first to the last in the order of lists. */
export interface ArchivePart {
  readonly seq: number;
  readonly keyName: string;
  /** Its key in object storage. */
  readonly name: string;
  readonly firstAt: number;
  readonly firstId: string;
  readonly lastAt: number;
  readonly lastId: string;
  readonly records: number;
  readonly staleSince: number | null;
}

type PartRow = Record<keyof ArchivePart, never>;
const PART = `SELECT seq, key_name AS keyName, name, first_at AS firstAt, first_id AS firstId, last_at AS lastAt,
  last_id AS lastId, records, stale_since AS staleSince FROM archive_parts`;

/** An owner's objects do not overlap, unless the clocks of edges differ by more than a retention. Then so many are looked at. */
const OVERLAPPING = 4;

export class ArchiveStore {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  /** The object with the record of a prediction. */
  partOf(id: string): ArchivePart | undefined {
    return this.#parts(`${PART} WHERE seq = (SELECT part FROM archived WHERE id = ?)`, id)[0];
  }

  /** The id of an archived prediction that its owner calls `ownId`. */
  idOf(keyName: string, ownId: string): string | undefined {
    const query = "SELECT id FROM archived_own_ids WHERE key_name = ? AND own_id = ?";
    return this.#sql.exec<{ id: string }>(query, keyName, ownId).toArray()[0]?.id;
  }

  part(seq: number): ArchivePart | undefined {
    return this.#parts(`${PART} WHERE seq = ?`, seq)[0];
  }

  /** Whether the record is in that object. */
  isIn(id: string, seq: number): boolean {
    const query = "SELECT 1 FROM archived WHERE id = ? AND part = ?";
    return this.#sql.exec(query, id, seq).toArray().length > 0;
  }

  /** Objects that may have records of a page of the owner's list, at most `limit`, nearest to its start first. */
  partsOf(keyName: string, { from, createdAfter, createdBefore }: ListQuery, limit: number): ArchivePart[] {
    const isNewer = from?.towards === "newer";
    const conditions = ["key_name = ? AND records > 0"];
    const values: SqlStorageValue[] = [keyName];
    if (createdAfter !== null) {
      conditions.push("last_at > ?");
      values.push(createdAfter);
    }
    if (createdBefore !== null) {
      conditions.push("first_at < ?");
      values.push(createdBefore);
    }
    if (isNewer) {
      conditions.push("(last_at, last_id) > (?, ?)");
      values.push(from.createdAt, from.id);
    }
    const query = `${PART} WHERE ${conditions.join(" AND ")}`;
    if (isNewer) return this.#parts(`${query} ORDER BY last_at, last_id LIMIT ?`, ...values, limit);
    if (from === null)
      return this.#parts(`${query} ORDER BY last_at DESC, last_id DESC LIMIT ?`, ...values, limit);
    const place = [from.createdAt, from.id];
    const around = this.#parts(
      `${query} AND (last_at, last_id) >= (?, ?) ORDER BY last_at, last_id LIMIT ?`,
      ...values,
      ...place,
      OVERLAPPING,
    );
    const before = this.#parts(
      `${query} AND (last_at, last_id) < (?, ?) ORDER BY last_at DESC, last_id DESC LIMIT ?`,
      ...values,
      ...place,
      limit,
    );
    const begun = around.filter(
      ({ firstAt, firstId }) => firstAt < from.createdAt || (firstAt === from.createdAt && firstId < from.id),
    );
    return [...begun.toReversed(), ...before].slice(0, limit);
  }

  /** Call this and what follows in the transaction of what they are about. */
  add(keyName: string, name: string, bytes: number, places: readonly LinePlace[]): number {
    const { seq } = this.#sql
      .exec<{ seq: number }>(
        `INSERT INTO archive_parts (key_name, name, first_at, first_id, last_at, last_id, ended_at, records, bytes)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq`,
        keyName,
        name,
        ...rangeOf(places),
        bytes,
      )
      .one();
    for (const { id, ownId } of places) {
      this.#sql.exec("INSERT INTO archived (id, part) VALUES (?, ?)", id, seq);
      if (ownId === null) continue;
      this.#sql.exec("INSERT OR REPLACE INTO archived_own_ids VALUES (?, ?, ?)", keyName, ownId, id);
    }
    return seq;
  }

  /** The object has been replaced by one without the records that had been deleted. */
  replace(seq: number, name: string, bytes: number, places: readonly LinePlace[]): void {
    this.#sql.exec(
      `UPDATE archive_parts SET name = ?, first_at = ?, first_id = ?, last_at = ?, last_id = ?, ended_at = ?, records = ?,
         bytes = ?, stale_since = NULL WHERE seq = ?`,
      name,
      ...rangeOf(places),
      bytes,
      seq,
    );
  }

  /** Takes records out: their object has yet to be replaced. */
  forget(places: readonly Pick<LinePlace, "id" | "ownId">[], { seq, keyName }: ArchivePart): void {
    for (const place of places) if (this.isIn(place.id, seq)) this.#forget(place, seq, keyName);
  }

  #forget({ id, ownId }: Pick<LinePlace, "id" | "ownId">, seq: number, keyName: string): void {
    this.#sql.exec("DELETE FROM archived WHERE id = ?", id);
    this.#sql.exec("UPDATE archive_parts SET records = records - 1 WHERE seq = ?", seq);
    if (ownId === null) return;
    this.#sql.exec(
      "DELETE FROM archived_own_ids WHERE key_name = ? AND own_id = ? AND id = ?",
      keyName,
      ownId,
      id,
    );
  }

  /** Notes that the object holds a record that has been deleted. */
  markStale(seq: number, now: number): void {
    this.#sql.exec(
      "UPDATE archive_parts SET stale_since = ? WHERE seq = ? AND stale_since IS NULL",
      now,
      seq,
    );
  }

  /** Removes an object's row, once its records have been forgotten; all of those, if the object is lost. */
  remove({ seq }: ArchivePart, isLost = false): void {
    if (isLost) {
      this.#sql.exec(
        "DELETE FROM archived_own_ids WHERE id IN (SELECT id FROM archived WHERE part = ?)",
        seq,
      );
      this.#sql.exec("DELETE FROM archived WHERE part = ?", seq);
    }
    this.#sql.exec("DELETE FROM archive_parts WHERE seq = ?", seq);
  }

  /** Objects whose records have all ended by `before`. */
  expired(before: number, limit: number): ArchivePart[] {
    return this.#parts(`${PART} WHERE ended_at <= ? ORDER BY ended_at LIMIT ?`, before, limit);
  }

  /** Objects that have held deleted records since `before` or longer. */
  stale(before: number, limit: number): ArchivePart[] {
    return this.#parts(`${PART} WHERE stale_since <= ? ORDER BY stale_since LIMIT ?`, before, limit);
  }

  /** Has an object deleted from `dueAt` on. */
  discard(name: string, dueAt: number): void {
    this.#sql.exec("INSERT OR REPLACE INTO archive_trash (name, due_at) VALUES (?, ?)", name, dueAt);
  }

  /** An object is to be kept, or is deleted. */
  undiscard(names: readonly string[]): void {
    for (const name of names) this.#sql.exec("DELETE FROM archive_trash WHERE name = ?", name);
  }

  discarded(now: number, limit: number): string[] {
    const query = "SELECT name FROM archive_trash WHERE due_at <= ? ORDER BY due_at LIMIT ?";
    return this.#sql
      .exec<{ name: string }>(query, now, limit)
      .toArray()
      .map(({ name }) => name);
  }

  /** The earliest end of an object's last record, time since when one is stale, and time from when one is to be deleted. */
  oldest(): { ended: number | null; stale: number | null; discarded: number | null } {
    return this.#sql
      .exec<{ ended: number | null; stale: number | null; discarded: number | null }>(
        `SELECT (SELECT min(ended_at) FROM archive_parts) AS ended,
           (SELECT min(stale_since) FROM archive_parts WHERE stale_since IS NOT NULL) AS stale,
           (SELECT min(due_at) FROM archive_trash) AS discarded`,
      )
      .one();
  }

  /** Owners of whom the hub has records, from the first after `keyName` on. */
  ownersAfter(keyName: string, limit: number): string[] {
    const query = "SELECT key_name FROM usage WHERE key_name > ? AND records > 0 ORDER BY key_name LIMIT ?";
    return this.#sql
      .exec<{ key_name: string }>(query, keyName, limit)
      .toArray()
      .map(({ key_name: owner }) => owner);
  }

  #parts(query: string, ...values: SqlStorageValue[]): ArchivePart[] {
    return this.#sql.exec<PartRow>(query, ...values).toArray();
  }
}

/** First and last in the order of lists, the last end, and how many there are; `places` in that order. */
function rangeOf(places: readonly LinePlace[]): [number, string, number, string, number, number] {
  const [first, last] = [places[0], places.at(-1)];
  if (first === undefined || last === undefined) throw new Error("an archive's object has no record");
  const ended = Math.max(...places.map(({ completedAt }) => completedAt));
  return [first.createdAt, first.id, last.createdAt, last.id, ended, places.length];
}
