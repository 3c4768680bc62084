// Uploaded files in SQLite. Rows in, rows out; their bytes are in object storage.

import type { FileRecord } from "../../prediction/file-records.ts";
import type { ImageType } from "../../prediction/image-type.ts";
import type { ListQuery } from "../../prediction/records.ts";
import { number, type Row, text } from "./columns.ts";
import { pageClause } from "./page.ts";

const toFile = (row: Row): FileRecord => ({
  id: text(row["id"]),
  keyName: text(row["key_name"]),
  capability: text(row["capability"]),
  type: text(row["type"]) as ImageType,
  filename: text(row["filename"]),
  sha256: text(row["sha256"]),
  metadataJson: text(row["metadata"]),
  size: number(row["size"]),
  createdAt: number(row["created_at"]),
  expiresAt: number(row["expires_at"]),
});

export class UploadStore {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  insert(file: FileRecord): void {
    this.#sql.exec(
      `INSERT INTO uploads (id, key_name, capability, type, filename, sha256, metadata, size, created_at, expires_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      file.id,
      file.keyName,
      file.capability,
      file.type,
      file.filename,
      file.sha256,
      file.metadataJson,
      file.size,
      file.createdAt,
      file.expiresAt,
    );
  }

  get(id: string): FileRecord | undefined {
    const [row] = this.#sql.exec("SELECT * FROM uploads WHERE id = ?", id).toArray();
    return row === undefined ? undefined : toFile(row);
  }

  /** An owner's files in the direction of `from`, nearest first, at most one more than the limit. */
  page(keyName: string, query: ListQuery): FileRecord[] {
    const { conditions, order, values } = pageClause(keyName, query);
    const statement = `SELECT * FROM uploads WHERE ${conditions.join(" AND ")} ORDER BY ${order} LIMIT ?`;
    return this.#sql
      .exec(statement, ...values, query.limit + 1)
      .toArray()
      .map(toFile);
  }

  countOf(keyName: string): number {
    const query = "SELECT count(*) AS n FROM uploads WHERE key_name = ?";
    return this.#sql.exec<{ n: number }>(query, keyName).one().n;
  }

  remove(id: string): void {
    this.#sql.exec("DELETE FROM uploads WHERE id = ?", id);
  }

  /** Those that have expired by `now`, the oldest first. */
  expired(now: number, limit: number): FileRecord[] {
    return this.#sql
      .exec("SELECT * FROM uploads WHERE expires_at <= ? ORDER BY expires_at LIMIT ?", now, limit)
      .toArray()
      .map(toFile);
  }

  /** When the next one expires, of one owner or of all, as Unix time in ms; null if there is none. */
  nextExpiry(keyName?: string): number | null {
    return this.#sql
      .exec<{ at: number | null }>(
        `SELECT min(expires_at) AS at FROM uploads ${keyName === undefined ? "" : "WHERE key_name = ?"}`,
        ...(keyName === undefined ? [] : [keyName]),
      )
      .one().at;
  }
}
