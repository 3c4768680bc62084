// Jobs and workers on a nats-server of a test's own, without an edge: jobs are sent and events read as an edge does it.

import { join } from "node:path";
import { jetstream } from "@nats-io/jetstream";
import { createInbox, connect, headers, type NatsConnection } from "nats";
import { encodeJob, type Framed } from "@vqd/shared/codec.ts";
import { BATCHES, MESSAGE_HEADERS } from "@vqd/shared/headers.ts";
import { decodeEvents } from "@vqd/shared/steps/batch.ts";
import { isTerminalEvent, type PredictionEvent } from "@vqd/shared/events.ts";
import type { Job } from "@vqd/shared/job.ts";
import { createLogger, type Logger } from "@vqd/shared/log.ts";
import { eventSubject, INBOX_PREFIX, jobSubject, stateSubject, STREAMS } from "@vqd/shared/subjects.ts";
import { expect } from "vitest";
import type { Broker, StoredState } from "../../../gpu-worker/nats/broker.ts";
import { JobConsumer } from "../../../gpu-worker/jobs/consumer.ts";
import { JobRunner } from "../../../gpu-worker/jobs/runner.ts";
import { WorkerMetrics } from "../../../gpu-worker/telemetry/metrics.ts";
import { type HostedModel, ModelHost } from "../../../gpu-worker/serving/model-host.ts";
import { StallWatch } from "../../../gpu-worker/watchdog/stall-watch.ts";
import { REPO } from "../../../infra/stack/paths.ts";
import { makeJob } from "../../support/job.ts";
import { connectWorker, startTestNats, type TestNats } from "./nats.ts";
import { TINY_MODEL } from "./stack.ts";

const FINISH_MS = 30_000;
export const LEASE_MS = 10_000;
export const MAX_ATTEMPTS = 2;

/** What an edge does, as its user. */
export class TestEdge {
  readonly nc: NatsConnection;
  readonly #framed = new Map<string, Framed<PredictionEvent>[]>();

  private constructor(nc: NatsConnection) {
    this.nc = nc;
  }

  static async connect({ url: servers, passwords }: Pick<TestNats, "url" | "passwords">): Promise<TestEdge> {
    const inboxPrefix = INBOX_PREFIX.edge;
    const nc = await connect({ servers, user: "edge", pass: passwords.edge, inboxPrefix });
    const edge = new TestEdge(nc);
    const inbox = createInbox(inboxPrefix);
    nc.subscribe(inbox, {
      callback: (error, { subject, data }) => {
        if (error !== null) throw error;
        const id = subject.split(".").at(-1) ?? "";
        edge.#framed.set(id, [...edge.framedOf(id), ...decodeEvents(data)]);
      },
    });
    const config = { deliver_subject: inbox, ack_policy: "none", deliver_policy: "all" };
    const request = { stream_name: STREAMS.events, config };
    await nc.request(
      `$JS.API.CONSUMER.CREATE.${STREAMS.events}.all.vqd.events.>`,
      JSON.stringify({ ...request, config: { ...config, name: "all", filter_subject: "vqd.events.>" } }),
    );
    return edge;
  }

  /** Of a prediction, so far. */
  eventsOf(id: string): PredictionEvent[] {
    return this.framedOf(id).map(({ value }) => value);
  }

  /** Its images, so far. */
  filesOf(id: string): Uint8Array[] {
    return this.framedOf(id).flatMap(({ value, attachment }) =>
      value.type === "output" ? [attachment] : [],
    );
  }

  /** Its events with what is attached to them. */
  framedOf(id: string): Framed<PredictionEvent>[] {
    return this.#framed.get(id) ?? [];
  }

  /** As a hub that reads batches, unless `batches` is false. */
  async send(job: Job, key: string, source?: Uint8Array, batches = true): Promise<void> {
    const carried = headers();
    if (batches) carried.set(MESSAGE_HEADERS.events, BATCHES);
    const js = jetstream(this.nc, { checkAPI: false });
    await js.publish(jobSubject(key, "normal"), encodeJob(job, source), { headers: carried });
  }

  /** Resolves when the prediction has an event of this type, with the types of all that it has. */
  async until(id: string, type: PredictionEvent["type"]): Promise<string[]> {
    const types = (): string[] => this.eventsOf(id).map((event) => event.type);
    await expect.poll(types, { timeout: FINISH_MS }).toContain(type);
    return types();
  }

  /** How the prediction ended; `failed` with its code. */
  async endOf(id: string): Promise<string> {
    const end = (): PredictionEvent | undefined => this.eventsOf(id).find(isTerminalEvent);
    await expect.poll(end, { timeout: FINISH_MS }).toBeDefined();
    const event = end();
    return event?.type === "failed" ? `failed: ${event.error.code}` : (event?.type ?? "");
  }

  close(): Promise<void> {
    return this.nc.close();
  }
}

/** A job of the model, three steps for one image. */
export function jobOf({ manifest }: HostedModel, changes: Partial<Job> = {}): Job {
  const { name: model, version, tokenizer } = manifest;
  const prompts = [Array<number>(tokenizer.maxLength).fill(0)];
  return makeJob({ model, version, prompts, numInferenceSteps: 3, guidanceScale: 2, ...changes });
}

const silent = createLogger(() => {}, "error");

/** The state of a job, wherever it is. */
export async function lastStateOf(
  broker: Broker,
  { id, shard }: Job,
  key: string,
): Promise<StoredState | undefined> {
  return (
    (await broker.lastState([stateSubject(key, id)])) ??
    (await broker.lastBatch(eventSubject(shard, key, id)))
  );
}

/** The model of the fixtures; `watch` sees each call into the runtime. */
export function openTinyModel(watch = new StallWatch(LEASE_MS)): Promise<ModelHost> {
  return ModelHost.open({
    models: [{ dir: TINY_MODEL }],
    watch,
    provider: "cpu",
    quantization: "none",
    threads: 1,
    cacheDir: join(REPO, ".vqd", "cache"),
    memoryBytes: Infinity,
    whileLoading: (load) => load(),
    onBroken: () => {},
    slots: 1,
    passBytes: 1024 ** 3,
    metrics: new WorkerMetrics(),
    log: silent,
  });
}

/** A worker without its process: `run` it, `drain` it. */
export function makeConsumer(broker: Broker, models: ModelHost, log: Logger = silent): JobConsumer {
  return new JobConsumer({
    broker,
    models,
    runner: new JobRunner({ broker, models, workerName: "test", log }),
    maxAttempts: MAX_ATTEMPTS,
    publishIntervalMs: 50,
    stateEvery: 1,
    maxSlots: 1,
    metrics: new WorkerMetrics(),
    log,
  });
}

/** A nats-server, an edge and a worker's connection on it, and the model of the fixtures; `close` stops all of it. */
export async function startJobs(watch?: StallWatch) {
  const [nats, models] = await Promise.all([startTestNats(), openTinyModel(watch)]);
  const [edge, broker] = await Promise.all([TestEdge.connect(nats), connectWorker(nats)]);
  const [model] = models.models as [HostedModel];
  const close = async (): Promise<void> => {
    await models.close();
    await edge.close();
    await broker.close();
    await nats.stop();
  };
  return { edge, broker, models, model, close };
}
