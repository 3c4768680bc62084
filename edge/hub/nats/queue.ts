// The job queue as the hub uses it: publishing and removing jobs.

import { JetStreamApiError } from "@nats-io/jetstream";
import { headers, NoRespondersError, RequestError } from "@nats-io/nats-core";
import { encodeJob, type Framed } from "@vqd/shared/codec.ts";
import { encodeControl } from "@vqd/shared/control.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { BATCHES, BEGINNING, MESSAGE_HEADERS, SCOPED, YIELDS } from "@vqd/shared/headers.ts";
import type { Job } from "@vqd/shared/job.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { controlSubject, jobSubject, type Priority, STREAMS, UNSCOPED } from "@vqd/shared/subjects.ts";
import type { NatsSession } from "./session.ts";

/** What JetStream says of a sequence that it does not have: removed, or beyond the last. */
const NOT_THERE = /no message found|sequence .*not found|EOF/;

/** Without a confirmation within this time it is unknown whether the queue has the job. */
const PUBLISH_TIMEOUT_MS = 2_500;
/**
 * How long to keep offering a job to a queue that does not respond: a cluster that has lost a server elects new leaders
 * within 4 to 9 s.
 */
const DISPATCH_LIMIT_MS = 10_000;
const DISPATCH_RETRY_MS = 250;
/** Error code of "maximum messages exceeded" and similar: the stream is full. */
const STORE_FAILED = 10_077;
const QUEUE_FULL_RETRY_SECONDS = 5;
const UNAVAILABLE_RETRY_SECONDS = 2;

/** What the job's message says about the request it comes from. */
export interface JobOrigin {
  readonly priority: Priority;
  readonly requestId: string;
  /** How often the job has been taken back: each time it becomes another message. */
  readonly round: number;
  readonly traceparent: string | undefined;
  /** Whether receipts may be asked for, which say what it begins with. */
  readonly hasReceipts: boolean;
  /** Of OwnerTags. */
  readonly owner: string;
}

/** A failure to publish a job. `isAmbiguous`: the queue may have the job nevertheless. */
export class PublishError extends VqdError {
  readonly isAmbiguous: boolean;

  constructor(code: "queue_full" | "queue_unavailable", cause: unknown, isAmbiguous: boolean) {
    const isFull = code === "queue_full";
    super(code, isFull ? "the job queue is full" : "the job queue did not accept the prediction", {
      cause,
      retryable: true,
      retryAfterSeconds: isFull ? QUEUE_FULL_RETRY_SECONDS : UNAVAILABLE_RETRY_SECONDS,
    });
    this.isAmbiguous = isAmbiguous;
  }
}

/**
 * Adds a job to its model's queue and returns its sequence there. The job's id, with its round, is the message id, so that
 * retries are deduplicated. `open` returns a session. Throws a PublishError.
 */
export async function dispatchJob(
  open: () => Promise<NatsSession>,
  job: Framed<Job>,
  origin: JobOrigin,
): Promise<number> {
  const until = Date.now() + DISPATCH_LIMIT_MS;
  let mayBeQueued = false;
  for (;;) {
    try {
      return await publishJob(await open(), job, origin);
    } catch (thrown) {
      // If no session could be opened, nothing was sent.
      const error =
        thrown instanceof PublishError ? thrown : new PublishError("queue_unavailable", thrown, false);
      mayBeQueued ||= error.isAmbiguous;
      if (error.code === "queue_full" || Date.now() >= until) {
        throw mayBeQueued && !error.isAmbiguous ? new PublishError("queue_unavailable", thrown, true) : error;
      }
      await new Promise((resolve) => setTimeout(resolve, DISPATCH_RETRY_MS));
    }
  }
}

async function publishJob(
  { js }: NatsSession,
  { value: job, attachment }: Framed<Job>,
  { requestId, traceparent, priority, round, hasReceipts, owner }: JobOrigin,
): Promise<number> {
  const carried = headers();
  carried.set(MESSAGE_HEADERS.requestId, requestId);
  carried.set(MESSAGE_HEADERS.subjects, SCOPED);
  carried.set(MESSAGE_HEADERS.control, YIELDS);
  carried.set(MESSAGE_HEADERS.events, BATCHES);
  // What a source spares a job is not counted among its steps.
  if (hasReceipts || job.source !== undefined) carried.set(MESSAGE_HEADERS.receipts, BEGINNING);
  if (traceparent !== undefined) carried.set(MESSAGE_HEADERS.traceparent, traceparent);
  carried.set(MESSAGE_HEADERS.owner, owner);
  const subject = jobSubject(modelKey({ name: job.model, version: job.version }), priority);
  try {
    const ack = await js.publish(subject, encodeJob(job, attachment), {
      msgID: round === 0 ? job.id : `${job.id}:${round}`,
      timeout: PUBLISH_TIMEOUT_MS,
      headers: carried,
    });
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

/** Tells the worker that has the job, if any, to stop. Without a `key`, only a worker of 0.1.0, whose subjects name no model. */
export function cancelWorker({ nc }: NatsSession, id: string, key: string | undefined): void {
  nc.publish(key === undefined ? UNSCOPED.controlSubject(id) : controlSubject(key, id));
}

/** Asks the worker that has this attempt at the job to hand it back. */
export function askToYield({ nc }: NatsSession, id: string, key: string, attempt: number): void {
  nc.publish(controlSubject(key, id), encodeControl({ type: "yield", attempt }));
}

/** Removes a waiting job from the queue. It is no error if the job has already been taken or removed; it is if nobody could look. */
export async function deleteJob({ jsm }: NatsSession, sequence: number): Promise<void> {
  try {
    await jsm.streams.deleteMessage(STREAMS.jobs, sequence);
  } catch (error) {
    if (!(error instanceof JetStreamApiError) || !NOT_THERE.test(error.message)) throw error;
  }
}
