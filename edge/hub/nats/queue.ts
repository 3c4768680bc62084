// The job queue as the hub uses it: publish a job, take it back.

import { JetStreamApiError } from "@nats-io/jetstream";
import { headers, NoRespondersError, RequestError } from "@nats-io/nats-core";
import { encodeJob } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { MESSAGE_HEADERS } from "@vqd/shared/headers.ts";
import type { Job } from "@vqd/shared/job.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { controlSubject, jobSubject, type Priority, STREAMS } from "@vqd/shared/subjects.ts";
import type { Session } from "./session.ts";

/** Without a confirmation after this time nobody knows whether the queue has the job. */
const PUBLISH_TIMEOUT_MS = 2_500;
/**
 * For so long a job is offered to a queue that does not answer: a cluster that has lost a server chooses new leaders in
 * 4 to 9 s.
 */
const DISPATCH_LIMIT_MS = 10_000;
const DISPATCH_RETRY_MS = 250;
/** "maximum messages exceeded" and its kin: the stream refuses new messages. */
const STORE_FAILED = 10_077;
const QUEUE_FULL_RETRY_SECONDS = 5;
const UNAVAILABLE_RETRY_SECONDS = 2;

/** What a job's message says of the request that made it. */
export interface JobOrigin {
  readonly priority: Priority;
  readonly requestId: string;
  readonly traceparent: string | undefined;
}

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

/**
 * Puts a job in its model's queue, once however often it is sent, for its id is the message's; gives its sequence there.
 * `open` gives a session. Throws a PublishError.
 */
export async function dispatchJob(
  open: () => Promise<Session>,
  job: Job,
  origin: JobOrigin,
): Promise<number> {
  const until = Date.now() + DISPATCH_LIMIT_MS;
  let mayBeQueued = false;
  for (;;) {
    try {
      return await publishJob(await open(), job, origin);
    } catch (thrown) {
      // A session that cannot be opened has sent nothing.
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
  { js }: Session,
  job: Job,
  { requestId, traceparent, priority }: JobOrigin,
): Promise<number> {
  const carried = headers();
  carried.set(MESSAGE_HEADERS.requestId, requestId);
  if (traceparent !== undefined) carried.set(MESSAGE_HEADERS.traceparent, traceparent);
  const subject = jobSubject(modelKey({ name: job.model, version: job.version }), priority);
  try {
    const ack = await js.publish(subject, encodeJob(job), {
      msgID: job.id,
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
