// What the runs of predictions began with, for receipts: kept as long as their steps (the schema's triggers delete them).

import { decodeDetachedJob } from "@vqd/shared/codec.ts";
import type { PredictionEvent } from "@vqd/shared/events.ts";
import type { Job } from "@vqd/shared/job.ts";

type BeginningEvent = Extract<PredictionEvent, { type: "beginning" }>;

export interface Beginning extends Pick<BeginningEvent, "step" | "held"> {
  readonly job: Job;
  /** Class ids of all images as uint16 LE. */
  readonly tokens: Uint8Array<ArrayBuffer>;
}

export class Beginnings {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  /** Keeps what a live prediction begins with, instead of what an earlier attempt began with. */
  keep(id: string, { step, held }: BeginningEvent, tokens: Uint8Array): void {
    // The job is kept here too: its own table has it until the prediction ends.
    const [kept] = this.#sql
      .exec<{ bytes: number }>(
        `INSERT OR REPLACE INTO beginnings (prediction_id, job, step, held, tokens)
         SELECT prediction_id, job, ?, ?, ? FROM jobs WHERE prediction_id = ? RETURNING length(job) AS bytes`,
        step,
        held,
        tokens.slice(),
        id,
      )
      .toArray();
    const bytes = kept === undefined ? 0 : kept.bytes + tokens.length + (held?.length ?? 0);
    this.#sql.exec("UPDATE predictions SET step_bytes = step_bytes + ? WHERE id = ?", bytes, id);
  }

  forget(id: string): void {
    this.#sql.exec("DELETE FROM beginnings WHERE prediction_id = ?", id);
  }

  get(id: string): Beginning | undefined {
    const [row] = this.#sql
      .exec<{ job: ArrayBuffer; step: number; held: string | null; tokens: ArrayBuffer }>(
        "SELECT job, step, held, tokens FROM beginnings WHERE prediction_id = ?",
        id,
      )
      .toArray();
    if (row === undefined) return undefined;
    const { job, step, held, tokens } = row;
    return { job: decodeDetachedJob(new Uint8Array(job)), step, held, tokens: new Uint8Array(tokens) };
  }
}
