// A worker without a model: it announces one, takes its jobs, and says of them what the bench wants said.

import { setTimeout as delay } from "node:timers/promises";
import { AckPolicy, type JetStreamClient, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "nats";
import { decodeJob, encodeEvent, encodeManifest } from "@vqd/shared/codec.ts";
import type { Job } from "@vqd/shared/job.ts";
import { type ModelManifest, modelKey } from "@vqd/shared/model.ts";
import {
  eventSubject,
  INBOX_PREFIX,
  jobConsumer,
  jobSubject,
  modelSubject,
  STREAMS,
} from "@vqd/shared/subjects.ts";
import type { EventBody } from "../../../gpu-worker/jobs/publisher.ts";
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
    const key = modelKey(MODEL);
    await worker.js.publish(modelSubject(key), encodeManifest({ ...MODEL, announcedAt: Date.now() }));
    const manager = await jetstreamManager(nc, { checkAPI: false });
    await manager.consumers.add(STREAMS.jobs, {
      durable_name: jobConsumer(key, "normal"),
      filter_subject: jobSubject(key, "normal"),
      ack_policy: AckPolicy.Explicit,
    });
    await served(stack);
    return worker;
  }

  /** The next job, acknowledged. */
  async nextJob(): Promise<Job> {
    const consumer = await this.js.consumers.get(STREAMS.jobs, jobConsumer(modelKey(MODEL), "normal"));
    const message = await consumer.next({ expires: JOB_LIMIT_MS });
    if (message === null) throw new Error("no job came");
    message.ack();
    return decodeJob(message.data);
  }

  /** Takes all jobs that come, and ends them as canceled, until the signal aborts. */
  async discardJobs(signal: AbortSignal): Promise<void> {
    const consumer = await this.js.consumers.get(STREAMS.jobs, jobConsumer(modelKey(MODEL), "normal"));
    const messages = await consumer.consume({ max_messages: 64 });
    signal.addEventListener("abort", () => messages.stop(), { once: true });
    for await (const message of messages) {
      message.ack();
      await this.say(decodeJob(message.data), { type: "canceled" });
    }
  }

  async say(job: Job, body: EventBody, attachment?: Uint8Array): Promise<void> {
    const event = { v: 1, attempt: 1, at: Date.now(), ...body } as Parameters<typeof encodeEvent>[0];
    await this.js.publish(eventSubject(job.shard, job.id), encodeEvent(event, attachment));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.nc.close();
  }
}
