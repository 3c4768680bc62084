// The events of predictions' streams, in SQLite. Rows in, rows out.

import type { StoredEvent } from "../../prediction/records.ts";
import { byteLength, decodeBase64 } from "../../util/bytes.ts";

/** Types of events that are deleted before their prediction. */
const EXPIRING: ReadonlySet<string> = new Set(["step", "preview", "logs"]);

export class EventStore {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  /** Appends an event to the prediction's stream. */
  append(id: string, type: string, data: string): void {
    const { seq } = this.#sql
      .exec<{ seq: number }>(
        "UPDATE predictions SET event_seq = event_seq + 1, step_bytes = step_bytes + ? WHERE id = ? RETURNING event_seq AS seq",
        EXPIRING.has(type) ? byteLength(data) : 0,
        id,
      )
      .one();
    this.#sql.exec(
      "INSERT INTO events (prediction_id, seq, type, data) VALUES (?, ?, ?, ?)",
      id,
      seq,
      type,
      data,
    );
  }

  appendLog(id: string, line: string): void {
    this.#sql.exec("UPDATE predictions SET logs = logs || ? WHERE id = ?", line, id);
    this.append(id, "logs", line);
  }

  /** The state after a step, as class ids (uint16 LE); null if it is not recorded. An attempt that started over has made it anew. */
  tokensAfter(id: string, step: number): Uint8Array<ArrayBuffer> | null {
    // As ingest writes it.
    const start = `{"step":${step},`;
    const [row] = this.#sql
      .exec<{ data: string }>(
        `SELECT data FROM events WHERE prediction_id = ? AND type = 'step' AND substr(data, 1, ?) = ?
         ORDER BY seq DESC LIMIT 1`,
        id,
        start.length,
        start,
      )
      .toArray();
    if (row === undefined) return null;
    const { tokens } = JSON.parse(row.data) as { tokens: string };
    return decodeBase64(tokens) ?? null;
  }

  /** The recorded states of an image after steps, as class ids (uint16 LE): of a step that was made twice the later one. */
  statesOf(id: string, image: number): Map<number, Uint8Array<ArrayBuffer>> {
    const states = new Map<number, Uint8Array<ArrayBuffer>>();
    const rows = this.#sql.exec<{ data: string }>(
      "SELECT data FROM events WHERE prediction_id = ? AND type = 'step' ORDER BY seq",
      id,
    );
    for (const { data } of rows) {
      const { step, images, tokens } = JSON.parse(data) as { step: number; images: number; tokens: string };
      const bytes = decodeBase64(tokens) ?? new Uint8Array();
      const size = bytes.length / images;
      states.set(step, bytes.slice(image * size, (image + 1) * size));
    }
    return states;
  }

  after(id: string, seq: number, limit: number): StoredEvent[] {
    return this.#sql
      .exec<{ seq: number; type: string; data: string }>(
        "SELECT seq, type, data FROM events WHERE prediction_id = ? AND seq > ? ORDER BY seq LIMIT ?",
        id,
        seq,
        limit,
      )
      .toArray();
  }

  /** True if the prediction has an event after `seq`. */
  hasAfter(id: string, seq: number): boolean {
    const query = "SELECT 1 FROM events WHERE prediction_id = ? AND seq > ? LIMIT 1";
    return this.#sql.exec(query, id, seq).toArray().length > 0;
  }

  ofTypes(id: string, types: readonly string[], seq: number, limit: number): StoredEvent[] {
    return this.#sql
      .exec<{ seq: number; type: string; data: string }>(
        `SELECT seq, type, data FROM events WHERE prediction_id = ? AND seq > ?
           AND type IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?`,
        id,
        seq,
        JSON.stringify(types),
        limit,
      )
      .toArray();
  }
}
