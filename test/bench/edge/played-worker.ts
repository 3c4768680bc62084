// A worker without a model: it announces one, takes its jobs, and says of them what the bench wants said.

import { setTimeout as delay } from "node:timers/promises";
import { type JetStreamClient, jetstream } from "@nats-io/jetstream";
import { connect, nanos, type NatsConnection } from "nats";
import { decodeJob, encodeEvent, encodeManifest } from "@vqd/shared/codec.ts";
import type { Job } from "@vqd/shared/job.ts";
import { type ModelManifest, modelKey } from "@vqd/shared/model.ts";
import {
  API_DOMAIN,
  eventSubject,
  INBOX_PREFIX,
  jobConsumer,
  modelSubject,
  STREAMS,
} from "@vqd/shared/subjects.ts";
import type { EventBody } from "../../../gpu-worker/jobs/reporter.ts";
import type { Stack } from "../../../infra/stack/stack.ts";
import { request } from "../../integration/support/client.ts";
import { CLIP_MERGES_SHA256 } from "./clip.ts";

const JOB_LIMIT_MS = 10_000;
const MODELS_LIMIT_MS = 30_000;
const MODELS_POLL_MS = 200;

export const MODEL: ModelManifest = {
  v: 1,
  name: "vqd/bench",
  version: "be".repeat(32),
  numTrainTimesteps: 1_000,
  numVectorEmbeds: 4_097,
  latentHeight: 32,
  latentWidth: 32,
  imageHeight: 256,
  imageWidth: 256,
  tokenizer: { mergesSha256: CLIP_MERGES_SHA256, maxLength: 77, padTokenId: 49_407 },
  parameters: 0,
  announcedAt: 0,
};

/** For the stack: this worker may serve it. */
export const BENCH_KEY = modelKey(MODEL);
const NEXT = `$JS.${API_DOMAIN}.API.CONSUMER.MSG.NEXT.${STREAMS.jobs}.${jobConsumer(BENCH_KEY, "normal")}`;
const DISCARD_WAIT_MS = 500;
const DISCARD_AT_ONCE = 8;

/** The edge hears of a model within seconds. */
async function served(stack: Stack): Promise<void> {
  const signal = AbortSignal.timeout(MODELS_LIMIT_MS);
  for (;;) {
    const { status } = await request(stack, `/v1/models/${MODEL.name}`, undefined, { signal });
    if (status === 200) return;
    await delay(MODELS_POLL_MS, undefined, { signal });
  }
}

export class PlayedWorker implements AsyncDisposable {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;

  private constructor(nc: NatsConnection) {
    this.nc = nc;
    this.js = jetstream(nc);
  }

  static async start(stack: Stack): Promise<PlayedWorker> {
    const nc = await connect({
      servers: stack.natsUrl,
      user: "worker",
      pass: stack.passwords.worker,
      inboxPrefix: INBOX_PREFIX.worker,
    });
    const worker = new PlayedWorker(nc);
    await worker.js.publish(modelSubject(BENCH_KEY), encodeManifest({ ...MODEL, announcedAt: Date.now() }));
    await served(stack);
    return worker;
  }

  /** The next job, acknowledged; undefined if none comes within `waitMs`. */
  async #pull(waitMs: number): Promise<Job | undefined> {
    const message = await this.nc.request(NEXT, JSON.stringify({ batch: 1, expires: nanos(waitMs) }), {
      timeout: 2 * waitMs,
      noMux: true,
    });
    if (message.headers?.code) return undefined;
    this.nc.publish(message.reply ?? "");
    return decodeJob(message.data).value;
  }

  async nextJob(): Promise<Job> {
    const job = await this.#pull(JOB_LIMIT_MS);
    if (job === undefined) throw new Error("no job came");
    return job;
  }

  /** Takes all jobs that come, and ends them as canceled, until the signal aborts. */
  async discardJobs(signal: AbortSignal): Promise<void> {
    const discard = async (): Promise<void> => {
      while (!signal.aborted) {
        const job = await this.#pull(DISCARD_WAIT_MS);
        if (job !== undefined) await this.say(job, { type: "canceled" });
      }
    };
    await Promise.all(Array.from({ length: DISCARD_AT_ONCE }, discard));
  }

  async say(job: Job, body: EventBody, attachment?: Uint8Array): Promise<void> {
    const event = { v: 1, attempt: 1, at: Date.now(), ...body } as Parameters<typeof encodeEvent>[0];
    await this.js.publish(eventSubject(job.shard, BENCH_KEY, job.id), encodeEvent(event, attachment));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.nc.close();
  }
}
