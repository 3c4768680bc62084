// Events that cannot be applied yet because object storage does not accept their image, and those that follow them. Kept in
// SQLite, so that the hub can read on in the stream for other predictions.

import type { StreamMessage } from "../nats/follow.ts";

export class ParkedEvents {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  get count(): number {
    return this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM parked_events").one().n;
  }

  /** Predictions that have parked events. */
  ids(): string[] {
    return this.#sql
      .exec<{ id: string }>("SELECT DISTINCT prediction_id AS id FROM parked_events")
      .toArray()
      .map(({ id }) => id);
  }

  has(id: string): boolean {
    const query = "SELECT 1 FROM parked_events WHERE prediction_id = ? LIMIT 1";
    return this.#sql.exec(query, id).toArray().length > 0;
  }

  add(id: string, { subject, sequence, data, traceparent }: StreamMessage): void {
    this.#sql.exec(
      `INSERT INTO parked_events (prediction_id, sequence, subject, data, traceparent) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO NOTHING`,
      id,
      sequence,
      subject,
      data,
      traceparent ?? null,
    );
  }

  /** The prediction's next parked event. */
  first(id: string): StreamMessage | undefined {
    const [row] = this.#sql
      .exec<{ sequence: number; subject: string; data: ArrayBuffer; traceparent: string | null }>(
        `SELECT sequence, subject, data, traceparent FROM parked_events WHERE prediction_id = ?
         ORDER BY sequence LIMIT 1`,
        id,
      )
      .toArray();
    if (row === undefined) return undefined;
    return { ...row, data: new Uint8Array(row.data), traceparent: row.traceparent ?? undefined };
  }

  remove(id: string, sequence: number): void {
    this.#sql.exec("DELETE FROM parked_events WHERE prediction_id = ? AND sequence = ?", id, sequence);
  }
}
