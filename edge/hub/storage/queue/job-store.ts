// The jobs of live predictions, as they were created: those that wait here, and those that may be taken back.

import { STAGE } from "../prediction-row.ts";

interface StoredJob {
  readonly id: string;
  /** Encoded, without what is attached to it: see Inputs. */
  readonly job: Uint8Array;
  readonly requestId: string;
  readonly traceparent: string | undefined;
}

/** A job that is to be dispatched. */
export interface HeldJob extends StoredJob {
  readonly keyName: string;
  readonly rank: number;
  /** How often it has been taken back. */
  readonly round: number;
  /** Sequence of the message that it had in the queue before; null for none. */
  readonly sequence: number | null;
  /** How long a worker may take, with a wait in the queue. */
  readonly timeoutMs: number;
}

export class JobStore {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  /** Keeps the job of a prediction that is being stored. Call in the same transaction. */
  keep({ id, job, requestId, traceparent }: StoredJob): void {
    this.#sql.exec(
      "INSERT INTO jobs (prediction_id, job, request_id, traceparent) VALUES (?, ?, ?, ?)",
      id,
      job.slice(),
      requestId,
      traceparent ?? null,
    );
  }

  remove(id: string): void {
    this.#sql.exec("DELETE FROM jobs WHERE prediction_id = ?", id);
  }

  /** The job of a prediction that is held is dispatched as another message from now on. */
  nextRound(id: string): void {
    this.#sql.exec(
      `UPDATE jobs SET round = round + 1 WHERE prediction_id = ?1
         AND EXISTS (SELECT 1 FROM predictions WHERE id = ?1 AND stage = ${STAGE.held})`,
      id,
    );
  }

  /** Jobs of live predictions `p` that fulfil the condition. */
  where(condition: string, ...values: SqlStorageValue[]): HeldJob[] {
    return this.#sql
      .exec<{
        prediction_id: string;
        key_name: string;
        job: ArrayBuffer;
        rank: number;
        round: number;
        sequence: number | null;
        timeout_ms: number;
        request_id: string;
        traceparent: string | null;
      }>(
        `SELECT j.*, p.key_name, p.rank, p.job_seq AS sequence,
           p.queue_deadline_at - p.created_at + p.run_timeout_ms AS timeout_ms
         FROM predictions p JOIN jobs j ON j.prediction_id = p.id WHERE p.completed_at IS NULL AND ${condition}`,
        ...values,
      )
      .toArray()
      .map((row) => ({
        id: row.prediction_id,
        keyName: row.key_name,
        job: new Uint8Array(row.job),
        rank: row.rank,
        round: row.round,
        sequence: row.sequence,
        timeoutMs: row.timeout_ms,
        requestId: row.request_id,
        traceparent: row.traceparent ?? undefined,
      }));
  }
}
