// The audit log of each owner: appended to in the transaction of the act, never changed, and deleted by age.

import type { Actor, AuditAction, AuditEntry, AuditQuery } from "../../../prediction/accounting/audit.ts";
import { dateOf } from "../../../prediction/accounting/usage.ts";

/** Entries that are kept of an owner: no key can fill the hub by sharing a prediction over and over. */
const MAX_ENTRIES = 10_000;

export class AuditStore {
  readonly #sql: SqlStorage;
  /** The day on which old entries have been deleted. */
  #expiredOn = "";

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  /** Call in the transaction of the act. */
  note(keyName: string, action: AuditAction, object: string | null, { keyId, requestId }: Actor): void {
    const { seq } = this.#sql
      .exec<{ seq: number }>(
        `INSERT INTO audit (key_name, seq, at, key_id, action, object, request_id)
         SELECT ?1, coalesce(max(seq), 0) + 1, ?2, ?3, ?4, ?5, ?6 FROM audit WHERE key_name = ?1 RETURNING seq`,
        keyName,
        Date.now(),
        keyId,
        action,
        object,
        requestId,
      )
      .one();
    this.#sql.exec("DELETE FROM audit WHERE key_name = ? AND seq <= ?", keyName, seq - MAX_ENTRIES);
  }

  /** Newest first; none from before `since`. */
  page(keyName: string, { before, limit }: AuditQuery, since: number): AuditEntry[] {
    return this.#sql
      .exec<Record<keyof AuditEntry, never>>(
        `SELECT seq, at, key_id AS keyId, action, object, request_id AS requestId FROM audit
         WHERE key_name = ? AND seq < ? AND at >= ? ORDER BY seq DESC LIMIT ?`,
        keyName,
        before ?? Number.MAX_SAFE_INTEGER,
        since,
        limit,
      )
      .toArray();
  }

  /** Deletes entries from before `since`, once a day: until then nobody is shown them. */
  expire(now: number, since: number): void {
    const today = dateOf(now);
    if (today === this.#expiredOn) return;
    this.#expiredOn = today;
    this.#sql.exec("DELETE FROM audit WHERE at < ?", since);
  }
}
