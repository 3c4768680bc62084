// Predictions whose clients have disconnected without an answer, and may be about to send their request again.

export class AbandonedPredictions {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  /** From now until `until` (Unix time in ms) the prediction can be adopted. */
  leave(id: string, until: number): void {
    this.#sql.exec("UPDATE predictions SET abandoned_until = ? WHERE id = ?", until, id);
  }

  /** Takes over a live prediction of the same request that was abandoned, each only once; returns its id. */
  adopt(keyName: string, requestHash: string): string | undefined {
    const [row] = this.#sql
      .exec<{ id: string }>(
        `UPDATE predictions SET abandoned_until = NULL WHERE id =
           (SELECT id FROM predictions WHERE key_name = ? AND request_hash = ?
              AND abandoned_until IS NOT NULL AND completed_at IS NULL ORDER BY abandoned_until LIMIT 1)
         RETURNING id`,
        keyName,
        requestHash,
      )
      .toArray();
    return row?.id;
  }
}
