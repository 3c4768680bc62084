// Common parts: requests with a key, a model, and the hand-written publisher that plays a worker.

import { env, exports } from "cloudflare:workers";
import { type JetStreamClient, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { nanos, type NatsConnection, wsconnect } from "@nats-io/nats-core";
import { decodeJob, encodeEvent, encodeJob, encodeManifest } from "../../shared/codec.ts";
import { preferredShard } from "../../edge/prediction/shards.ts";
import { Hubs, type HubStub } from "../../edge/service/hubs.ts";
import type { NewPrediction } from "../../edge/prediction/records.ts";
import type { PredictionEvent } from "../../shared/events.ts";
import { MESSAGE_HEADERS } from "../../shared/headers.ts";
import { newCapability } from "../../shared/ids.ts";
import { imageCount, type Job, type OutputFormat } from "../../shared/job.ts";
import { type ModelManifest, modelKey } from "../../shared/model.ts";
import {
  API_DOMAIN,
  controlSubject,
  eventSubject,
  INBOX_PREFIX,
  jobConsumer,
  jobSubject,
  modelSubject,
  STREAMS,
} from "../../shared/subjects.ts";
import { makeJob } from "../support/job.ts";
import { PLAYED_MODELS } from "../support/played-models.ts";

export const KEY = "test-key";
export const ORIGIN = "https://vqd.test";

export const hubs = new Hubs(env.HUB, Number(env.HUB_SHARDS));
/** The home of an owner whom no hub knew before. */
export const hubOf = (owner: string): HubStub => hubs.ofShard(preferredShard(owner, hubs.shards));

export const MODEL: ModelManifest = {
  v: 1,
  ...PLAYED_MODELS.played,
  numTrainTimesteps: 50,
  numVectorEmbeds: 129,
  latentHeight: 2,
  latentWidth: 2,
  imageHeight: 16,
  imageWidth: 16,
  tokenizer: {
    mergesSha256: "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",
    maxLength: 8,
    padTokenId: 49_407,
  },
  palette: btoa("\x10\x80\xf0".repeat(128)),
  parameters: 1_000,
  announcedAt: Date.UTC(2026, 0, 1),
};

export const MODEL_KEY = modelKey(MODEL);
const NEXT = `$JS.${API_DOMAIN}.API.CONSUMER.MSG.NEXT.${STREAMS.jobs}`;
const TAKE_LIMIT_MS = 5_000;

/** Sends a request to the edge; `json` becomes its body. */
export function call(
  path: string,
  {
    json,
    key = KEY,
    headers = {},
    ...init
  }: Omit<RequestInit, "headers"> & {
    json?: unknown;
    key?: string | null;
    headers?: Record<string, string>;
  } = {},
): Promise<Response> {
  return exports.default.fetch(
    new Request(`${ORIGIN}${path}`, {
      ...init,
      headers: {
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
        ...(json === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(json === undefined ? {} : { method: "POST", body: JSON.stringify(json) }),
    }),
  );
}

export const newJob = (shard: number, steps: number, images = 1): Job =>
  makeJob({
    shard,
    model: MODEL.name,
    version: MODEL.version,
    prompts: [[1, 2, 3]],
    numInferenceSteps: steps,
    numImagesPerPrompt: images,
  });

/** What a hub is asked for with the job. */
export function newPrediction(job: Job, keyName: string): NewPrediction {
  return {
    keyName,
    keyId: "0123456789ab",
    inputJson: JSON.stringify({
      prompt: "a",
      output_format: job.outputFormat,
      num_previews: job.previews,
    }),
    promptTokens: 3,
    promptTruncated: false,
    fileCapability: newCapability(),
    streamCapability: newCapability(),
    inputCapability: newCapability(),
    inputFiles: [],
    queueTimeoutMs: 60_000,
    runTimeoutMs: 60_000,
    cancelAfterMs: null,
    idempotency: null,
    webhook: null,
    limits: { perMinute: 1_000, live: 1_000 },
    quotas: {},
    origin: ORIGIN,
    job: encodeJob(job),
    priority: "normal",
    maxWaitMs: 60_000,
    requestId: "test",
    traceparent: undefined,
  };
}

/** What a worker says, without what is common to all events. */
export type Said = PredictionEvent extends infer E
  ? E extends PredictionEvent
    ? Omit<E, "v" | "attempt" | "at">
    : never
  : never;

/** An event as it lies in a message. */
export function eventBytes(said: Said, attempt: number, attachment?: Uint8Array): Uint8Array<ArrayBuffer> {
  return encodeEvent({ ...said, v: 1, attempt, at: Date.now() }, attachment);
}

export const IMAGE = Uint8Array.from({ length: 70 }, (_, i) => (i * 37) % 256);

/** All that a worker says of a job of `images` images and `total` steps, in order. */
export function* script(
  total: number,
  images: number,
  format: OutputFormat = "png",
): Generator<[Said, Uint8Array?]> {
  yield [{ type: "started", worker: "played", numericsId: "played-1", resumedFrom: 0, total }];
  for (let step = 1; step <= total; step++) yield stepEvent(step, total, images);
  for (let index = 0; index < images; index++) yield outputEvent(index, format);
  yield [{ type: "succeeded", predictSeconds: 0.001 }];
}

export function stepEvent(step: number, total: number, images = 1): [Said, Uint8Array] {
  const tokens = new Uint8Array(images * 8).fill(step);
  const masked = Math.min(total - step, images * MODEL.latentHeight * MODEL.latentWidth);
  return [{ type: "step", step, total, timestep: total - step, masked, images }, tokens];
}

export const outputEvent = (index: number, format: OutputFormat = "png"): [Said, Uint8Array] => [
  { type: "output", index, format, width: 16, height: 16, seed: 1 },
  IMAGE,
];

export const previewEvent = (preview: number, step: number, index = 0): [Said, Uint8Array] => [
  { type: "preview", index, preview, step, format: "png", width: 16, height: 16 },
  IMAGE,
];

/** Fills the queue, as another hub would. Gives a function that empties it of these jobs. */
export async function fillQueue(): Promise<() => Promise<void>> {
  const nc = await wsconnect({
    servers: env.NATS_URL,
    user: "edge",
    pass: env.NATS_PASSWORD ?? "",
    inboxPrefix: INBOX_PREFIX.edge,
    reconnect: false,
  });
  const js = jetstream(nc, { checkAPI: false });
  const jsm = await jetstreamManager(nc, { checkAPI: false });
  const sequences: number[] = [];
  try {
    for (;;) {
      const job = newJob(Number(env.HUB_SHARDS), 1);
      sequences.push(
        (await js.publish(jobSubject(MODEL_KEY, "normal"), encodeJob(job), { msgID: job.id })).seq,
      );
    }
  } catch {
    // It is full.
  }
  return async () => {
    for (const sequence of sequences) await jsm.streams.deleteMessage(STREAMS.jobs, sequence);
    await nc.close();
  };
}

/** Plays a worker on the real NATS, as its user, with its permissions. */
export class PlayedWorker {
  readonly nc: NatsConnection;
  /** What came with the job that was taken last. */
  attachment = new Uint8Array();
  /** Of that job's message: what its owner's jobs have in common. */
  owner = "";
  readonly #js: JetStreamClient;

  private constructor(nc: NatsConnection) {
    this.nc = nc;
    this.#js = jetstream(nc, { checkAPI: false });
  }

  static async start(): Promise<PlayedWorker> {
    const worker = new PlayedWorker(
      await wsconnect({
        servers: env.NATS_URL,
        user: "worker",
        pass: env.WORKER_PASSWORD,
        inboxPrefix: INBOX_PREFIX.worker,
        reconnect: false,
      }),
    );
    await worker.announce(MODEL);
    return worker;
  }

  async announce(manifest: ModelManifest, tokenizer?: Uint8Array): Promise<void> {
    await this.#js.publish(modelSubject(modelKey(manifest)), encodeManifest(manifest, tokenizer));
  }

  /** Takes the job of a prediction, by its id or its seed; those before it are thrown away. */
  async take(wanted: Partial<Pick<Job, "id" | "seed">>, model = MODEL): Promise<Job> {
    for (;;) {
      const job = await this.next(model);
      if (job.id === wanted.id || job.seed === wanted.seed) return job;
    }
  }

  /** Takes the next job; without acknowledging it, as if that had been lost, if told so. */
  async next(model = MODEL, { acknowledges = true } = {}): Promise<Job> {
    const next = `${NEXT}.${jobConsumer(modelKey(model), "normal")}`;
    const request = JSON.stringify({ batch: 1, expires: nanos(TAKE_LIMIT_MS) });
    const message = await this.nc.request(next, request, { timeout: 2 * TAKE_LIMIT_MS, noMux: true });
    if (message.headers?.code)
      throw new Error(
        `no job came: ${message.headers.code} ${message.headers.description} ${message.subject}`,
      );
    if (acknowledges) await this.nc.request(message.reply ?? "", "+ACK");
    const { value, attachment } = decodeJob(message.data);
    this.attachment = attachment;
    this.owner = message.headers?.get(MESSAGE_HEADERS.owner) ?? "";
    return value;
  }

  async say(job: Pick<Job, "shard" | "id">, said: Said, attachment?: Uint8Array, attempt = 1): Promise<void> {
    const subject = eventSubject(job.shard, MODEL_KEY, job.id);
    await this.#js.publish(subject, eventBytes(said, attempt, attachment));
  }

  /** Says all that there is to say of the job. */
  async play(job: Job): Promise<void> {
    for (const [said, attachment] of script(job.numInferenceSteps, imageCount(job), job.outputFormat)) {
      await this.say(job, said, attachment);
    }
  }

  /** Resolves when the job is asked to stop. */
  canceled(id: string): Promise<void> {
    return new Promise((resolve) => {
      this.nc.subscribe(controlSubject(MODEL_KEY, id), { max: 1, callback: () => resolve() });
    });
  }

  async close(): Promise<void> {
    await this.nc.close();
  }
}
