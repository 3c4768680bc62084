// A worker that is asked for a job hands it back at the next step, on a real nats-server: nothing of it is lost or repeated.

import { jetstream } from "@nats-io/jetstream";
import { headers } from "nats";
import { encodeJob } from "@vqd/shared/codec.ts";
import { encodeControl } from "@vqd/shared/control.ts";
import type { PredictionEvent } from "@vqd/shared/events.ts";
import { BATCHES, MESSAGE_HEADERS, YIELDS } from "@vqd/shared/headers.ts";
import type { Job } from "@vqd/shared/job.ts";
import { controlSubject, jobSubject } from "@vqd/shared/subjects.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Broker } from "../../gpu-worker/nats/broker.ts";
import type { HostedModel, ModelHost } from "../../gpu-worker/serving/model-host.ts";
import { type CallKind, StallWatch } from "../../gpu-worker/watchdog/stall-watch.ts";
import {
  LEASE_MS,
  lastStateOf,
  makeConsumer,
  jobOf,
  MAX_ATTEMPTS,
  startJobs,
  type TestEdge,
} from "./support/jobs.ts";

const STEPS = 30;
const LAST_FREE_PASS = 4;

/** Stops before a pass, until it is released. */
class StoppedPasses extends StallWatch {
  #passes = 0;
  #reached = Promise.withResolvers<void>();
  #gate = Promise.withResolvers<void>();

  override async run<T>(kind: CallKind, rows: number, work: () => Promise<T>): Promise<T> {
    if (kind === "pass" && ++this.#passes === LAST_FREE_PASS + 1) {
      this.#reached.resolve();
      await this.#gate.promise;
    }
    return super.run(kind, rows, work);
  }

  /** Counts from now on. */
  restart(): void {
    this.#passes = 0;
    this.#reached = Promise.withResolvers();
    this.#gate = Promise.withResolvers();
  }
  reached(): Promise<void> {
    return this.#reached.promise;
  }
  release(): void {
    this.#gate.resolve();
  }
}

const passes = new StoppedPasses(LEASE_MS);
let edge: TestEdge;
let broker: Broker;
let models: ModelHost;
let model: HostedModel;
let close: () => Promise<void>;

beforeAll(async () => {
  ({ edge, broker, models, model, close } = await startJobs(passes));
});
afterAll(() => close());

const send = async (job: Job, round = 0, mayAsk = true): Promise<void> => {
  const carried = headers();
  carried.set(MESSAGE_HEADERS.events, BATCHES);
  if (mayAsk) carried.set(MESSAGE_HEADERS.control, YIELDS);
  await jetstream(edge.nc, { checkAPI: false }).publish(jobSubject(model.key, "normal"), encodeJob(job), {
    msgID: `${job.id}:${round}`,
    headers: carried,
  });
};
const ask = async (job: Job, attempt: number): Promise<void> => {
  edge.nc.publish(controlSubject(model.key, job.id), encodeControl({ type: "yield", attempt }));
  await edge.nc.flush();
};
const eventsOf = (job: Job, type: PredictionEvent["type"]): PredictionEvent[] =>
  edge.eventsOf(job.id).filter((event) => event.type === type);
const stateOf = async (job: Job) => (await lastStateOf(broker, job, model.key))?.value;

it("goes on where it was, to the same image, whatever ran in between; and no attempt counts", async () => {
  const consumer = makeConsumer(broker, models);
  const run = consumer.run();
  const whole = jobOf(model, { numInferenceSteps: STEPS });
  passes.restart();
  passes.release();
  await send(whole);
  expect(await edge.endOf(whole.id)).toBe("succeeded");

  const job = jobOf(model, { numInferenceSteps: STEPS, seed: whole.seed });
  const between = jobOf(model);
  // More often than attempts may fail.
  for (let round = 0; round <= MAX_ATTEMPTS; round++) {
    passes.restart();
    await send(job, round);
    await passes.reached();
    await ask(job, round + 1);
    passes.release();
    await expect.poll(() => eventsOf(job, "yielded").length).toBe(round + 1);
    await expect.poll(() => consumer.jobs).toBe(0);
    expect(await stateOf(job)).toMatchObject({ starts: 0, claims: 0, attempt: round + 1 });
    const delivery = await broker.pull({ modelKey: model.key, priority: "normal" });
    expect(delivery).toBeUndefined();
  }
  await send(between);
  expect(await edge.endOf(between.id)).toBe("succeeded");
  passes.restart();
  passes.release();
  await send(job, MAX_ATTEMPTS + 1);
  expect(await edge.endOf(job.id)).toBe("succeeded");

  const steps = eventsOf(job, "step").map((event) => ("step" in event ? event.step : 0));
  expect(steps).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1));
  expect(edge.filesOf(job.id)).toEqual(edge.filesOf(whole.id));
  expect(edge.filesOf(job.id)).toHaveLength(1);
  consumer.drain();
  await run;
});

it("keeps a job that another attempt is asked for, or whose hub does not understand that it is handed back", async () => {
  const consumer = makeConsumer(broker, models);
  const run = consumer.run();
  for (const mayAsk of [true, false]) {
    const job = jobOf(model, { numInferenceSteps: STEPS });
    passes.restart();
    await send(job, 0, mayAsk);
    await passes.reached();
    await edge.until(job.id, "started");
    const attempt = eventsOf(job, "started")[0]?.attempt ?? 0;
    await ask(job, mayAsk ? attempt + 1 : attempt);
    passes.release();
    expect(await edge.endOf(job.id)).toBe("succeeded");
    expect(eventsOf(job, "started")).toMatchObject([mayAsk ? { yields: true } : {}]);
    expect(eventsOf(job, "started").some((event) => "yields" in event)).toBe(mayAsk);
  }
  consumer.drain();
  await run;
});
