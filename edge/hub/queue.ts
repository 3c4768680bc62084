// The job queue as the hub uses it: publish a job, take it back.

import { JetStreamApiError } from "@nats-io/jetstream";
import { NoRespondersError, RequestError } from "@nats-io/nats-core";
import { encodeJob } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import type { Job } from "@vqd/shared/job.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { controlSubject, jobSubject, STREAMS, jobConsumer } from "@vqd/shared/subjects.ts";
import type { HubConnection } from "./connection.ts";
import type { Session } from "./nats.ts";
import type { QueuePlace } from "./records.ts";
import type { PredictionRow, PredictionStore } from "./store.ts";

/** Without a confirmation after this time nobody knows whether the queue has the job. */
const PUBLISH_TIMEOUT_MS = 2_500;
/** "maximum messages exceeded" and its kin: the stream refuses new messages. */
const STORE_FAILED = 10_077;
const QUEUE_FULL_RETRY_SECONDS = 5;
const UNAVAILABLE_RETRY_SECONDS = 2;

/** Whether the queue may hold the job although publishing it failed. */
export class PublishError extends VqdError {
  readonly isAmbiguous: boolean;

  constructor(code: "queue_full" | "queue_unavailable", cause: unknown, isAmbiguous: boolean) {
    const isFull = code === "queue_full";
    super(code, isFull ? "the job queue is full" : "the job queue did not take the prediction", {
      cause,
      retryable: true,
      retryAfterSeconds: isFull ? QUEUE_FULL_RETRY_SECONDS : UNAVAILABLE_RETRY_SECONDS,
    });
    this.isAmbiguous = isAmbiguous;
  }
}

/** Puts a job in its model's queue and gives its sequence there. Throws a PublishError. */
export async function publishJob({ js }: Session, job: Job): Promise<number> {
  const subject = jobSubject(modelKey({ name: job.model, version: job.version }), "normal");
  try {
    const ack = await js.publish(subject, encodeJob(job), { msgID: job.id, timeout: PUBLISH_TIMEOUT_MS });
    return ack.seq;
  } catch (error) {
    if (error instanceof JetStreamApiError) {
      throw new PublishError(error.code === STORE_FAILED ? "queue_full" : "queue_unavailable", error, false);
    }
    const nobodyListens =
      error instanceof NoRespondersError ||
      (error instanceof RequestError && error.isNoResponders()) ||
      (error instanceof Error && error.name === "JetStreamNotEnabled");
    throw new PublishError("queue_unavailable", error, !nobodyListens);
  }
}

/** Tells the worker that holds the job, if one does, to stop. */
export function cancelWorker({ nc }: Session, id: string): void {
  nc.publish(controlSubject(id));
}

/** Removes a waiting job from the queue; one that has been taken or removed already is no error. */
export async function deleteJob({ jsm }: Session, sequence: number): Promise<void> {
  try {
    await jsm.streams.deleteMessage(STREAMS.jobs, sequence);
  } catch (error) {
    if (!(error instanceof JetStreamApiError)) throw error;
  }
}

interface QueueReading {
  readonly at: number;
  /** Stream sequence of the last job that a worker has taken. */
  readonly taken: number;
  readonly waiting: number;
  readonly running: number;
}

/** Predictions whose mean duration an estimate is made of. */
const ETA_SAMPLE = 20;
/** A reading serves all who ask within this time. */
const READING_MS = 500;

/** Reads from the workers' consumer how long a model's queue is. */
export class QueueGauge {
  readonly #readings = new Map<string, Promise<QueueReading | null>>();

  /** The queue of `row`'s model has changed: what was read of it no longer counts. */
  forget({ model: name, version }: Pick<Job, "model" | "version">): void {
    this.#readings.delete(modelKey({ name, version }));
  }

  /** Where a waiting job stands; null if the queue cannot be asked. */
  async placeOf(
    connection: HubConnection,
    store: PredictionStore,
    row: PredictionRow,
  ): Promise<QueuePlace | null> {
    if (row.jobSeq === null) return null;
    const reading = await this.#read(connection, modelKey({ name: row.model, version: row.version }));
    if (reading === null) return null;
    // Sequences have gaps where jobs were canceled, and the queue's length counts those behind: of the latter the
    // hub knows its own. With one shard that is all of them.
    const behind = store.waitingBehind(row);
    const position = Math.max(0, Math.min(row.jobSeq - reading.taken, reading.waiting - behind) - 1);
    const meanSeconds = store.meanPredictSeconds(row.version, ETA_SAMPLE);
    // The jobs ahead, and those that run, share as many workers as are at work.
    const waits = reading.running === 0 ? 0 : (position + 1) / reading.running;
    const etaSeconds = meanSeconds === null ? null : Math.ceil((waits + 1) * meanSeconds);
    return { position, etaSeconds };
  }

  async #read(connection: HubConnection, model: string): Promise<QueueReading | null> {
    const last = await this.#readings.get(model);
    if (last && Date.now() - last.at < READING_MS) return last;
    const reading = connection
      .open()
      .then(({ jsm }) => jsm.consumers.info(STREAMS.jobs, jobConsumer(model)))
      .then((info) => ({
        at: Date.now(),
        taken: info.delivered.stream_seq,
        waiting: info.num_pending,
        running: info.num_ack_pending,
      }))
      .catch(() => null);
    this.#readings.set(model, reading);
    return reading;
  }
}
