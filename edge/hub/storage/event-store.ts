// The events of predictions' streams. Steps are written a second's worth at a time, and unpacked for whoever reads them.

import type { StoredEvent } from "../../prediction/records.ts";
import { byteLength, decodeBase64 } from "../../util/bytes.ts";
import type { PredictionRow } from "./prediction-row.ts";
import {
  eventsOfRun,
  linesOfRow,
  linesOfRun,
  PACKED,
  packRow,
  type RecordedStep,
  type StepContext,
  type StepRun,
  unpackRow,
} from "./steps/packed-row.ts";
import { StepBuffer } from "./steps/step-buffer.ts";

/** Types of events that are deleted before their prediction. */
const EXPIRING: ReadonlySet<string> = new Set(["preview", "logs"]);

/** An event without its number. */
export type NewEvent = readonly [type: string, data: string];

/** `data` is JSON or a line of the log, or packed steps, of which `seq` is the number of the last event. */
type EventRow = { seq: number; type: string; data: string | ArrayBuffer };

/** Bytes that are deleted before their prediction is. */
export const expiringBytes = (events: readonly NewEvent[]): number =>
  events.reduce((sum, [type, data]) => sum + (EXPIRING.has(type) ? byteLength(data) : 0), 0);

function runOf({ type, data }: EventRow): StepRun | undefined {
  return type === PACKED && typeof data !== "string" ? unpackRow(new Uint8Array(data)) : undefined;
}

function eventsOfRow(row: EventRow): StoredEvent[] {
  const run = runOf(row);
  if (run !== undefined) return eventsOfRun(run, row.seq);
  return typeof row.data === "string" ? [{ seq: row.seq, type: row.type, data: row.data }] : [];
}

export class EventStore {
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;
  readonly #buffer = new StepBuffer();

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
  }

  /** Stores events with the numbers up to `last`. Call after `flush`. */
  insert(id: string, events: readonly NewEvent[], last: number): void {
    for (const [place, [type, data]] of events.entries()) {
      this.#insert(id, last - events.length + place + 1, type, data);
    }
  }

  #insert(id: string, seq: number, type: string, data: string | Uint8Array): void {
    this.#sql.exec(
      "INSERT INTO events (prediction_id, seq, type, data) VALUES (?, ?, ?, ?)",
      id,
      seq,
      type,
      data,
    );
  }

  /** Records a step, whose events follow the one with the number `eventSeq`. It is written by `flush`. */
  addStep(id: string, context: StepContext, step: RecordedStep, eventSeq: number): void {
    if (!this.#buffer.takes(id, context, step)) this.flush(id);
    this.#buffer.add(id, context, step, eventSeq);
  }

  /** Writes the steps of a prediction that have yet to be. Before another of its events is stored, this is done. */
  flush(id: string): void {
    const run = this.#buffer.get(id);
    const newest = run?.steps.at(-1);
    if (run === undefined || newest === undefined) return;
    const row = packRow(run);
    this.#storage.transactionSync(() => {
      this.#insert(id, run.last, PACKED, row);
      this.#sql.exec(
        "UPDATE predictions SET step = ?, attempt_ms = ?, event_seq = ?, step_bytes = step_bytes + ? WHERE id = ?",
        newest.step,
        newest.elapsedMs,
        run.last,
        row.length,
        id,
      );
    });
    this.#buffer.remove(id);
  }

  /** Predictions with steps that have yet to be written. */
  unwritten(): string[] {
    return this.#buffer.ids();
  }

  /** Whether so much has yet to be written that it should be now. */
  get isFull(): boolean {
    return this.#buffer.isFull;
  }

  /** Drops what has yet to be written of a prediction. Returns a function that takes that back. */
  forget(id: string): () => void {
    return this.#buffer.remove(id);
  }

  /** How far a prediction is, if steps of it have yet to be written. */
  progressOf(id: string): Pick<PredictionRow, "step" | "attemptMs" | "eventSeq"> | undefined {
    const run = this.#buffer.get(id);
    const newest = run?.steps.at(-1);
    if (run === undefined || newest === undefined) return undefined;
    return { step: newest.step, attemptMs: newest.elapsedMs, eventSeq: run.last };
  }

  /** The lines of the log that follow from the recorded steps. */
  logsOf(id: string): string {
    const rows = this.#sql.exec<{ data: ArrayBuffer }>(
      "SELECT data FROM events WHERE prediction_id = ? AND type = ? ORDER BY seq",
      id,
      PACKED,
    );
    const stored = [...rows].map(({ data }) => linesOfRow(new Uint8Array(data))).join("");
    const run = this.#buffer.get(id);
    return run === undefined ? stored : stored + linesOfRun(run);
  }

  /** The state after a step, as class ids (uint16 LE); null if it is not recorded. An attempt that started over has made it anew. */
  tokensAfter(id: string, step: number): Uint8Array<ArrayBuffer> | null {
    for (const run of this.#runs(id, "DESC")) {
      const found = run.steps.findLast((one) => one.step === step);
      if (found !== undefined) return found.tokens.slice();
    }
    return null;
  }

  /** The recorded states of an image after steps, as class ids (uint16 LE): of a step that was made twice the later one. */
  statesOf(id: string, image: number): Map<number, Uint8Array<ArrayBuffer>> {
    const states = new Map<number, Uint8Array<ArrayBuffer>>();
    for (const { steps, images } of this.#runs(id, "ASC")) {
      for (const { step, tokens } of steps) {
        const size = tokens.length / images;
        states.set(step, tokens.slice(image * size, (image + 1) * size));
      }
    }
    return states;
  }

  /** All recorded steps, row by row. */
  *#runs(id: string, order: "ASC" | "DESC"): Generator<StepRun> {
    this.flush(id);
    const rows = this.#sql.exec<EventRow>(
      `SELECT seq, type, data FROM events WHERE prediction_id = ? AND type IN ('step', '${PACKED}') ORDER BY seq ${order}`,
      id,
    );
    for (const row of rows) {
      const run = runOf(row) ?? runOfEvent(row.data);
      if (run !== undefined) yield run;
    }
  }

  /** The events after `seq`, at most `limit`. */
  after(id: string, seq: number, limit: number): StoredEvent[] {
    const events: StoredEvent[] = [];
    const take = (more: readonly StoredEvent[]): boolean => {
      for (const event of more) {
        if (event.seq > seq) events.push(event);
        if (events.length === limit) return false;
      }
      return true;
    };
    const run = this.#buffer.get(id);
    if (run === undefined || seq < run.before) {
      const query =
        "SELECT seq, type, data FROM events WHERE prediction_id = ? AND seq > ? ORDER BY seq LIMIT ?";
      for (const row of this.#sql.exec<EventRow>(query, id, seq, limit)) {
        if (!take(eventsOfRow(row))) return events;
      }
    }
    if (run !== undefined) take(eventsOfRun(run, run.last));
    return events;
  }

  /** True if the prediction has an event after `seq`. */
  hasAfter(id: string, seq: number): boolean {
    if ((this.#buffer.get(id)?.last ?? 0) > seq) return true;
    const query = "SELECT 1 FROM events WHERE prediction_id = ? AND seq > ? LIMIT 1";
    return this.#sql.exec(query, id, seq).toArray().length > 0;
  }

  /** Of types other than `step` and `logs`. */
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

/** A step as releases before this one stored it: an event of its own. */
function runOfEvent(data: string | ArrayBuffer): StepRun | undefined {
  if (typeof data !== "string") return undefined;
  const { tokens, images, total, ...step } = JSON.parse(data) as StoredStep;
  const bytes = decodeBase64(tokens);
  if (bytes === undefined) return undefined;
  return { total, images, from: 0, steps: [{ ...step, elapsedMs: 0, tokens: bytes }] };
}

interface StoredStep extends Pick<RecordedStep, "step" | "timestep" | "masked"> {
  readonly total: number;
  readonly images: number;
  readonly tokens: string;
}
