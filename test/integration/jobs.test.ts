// Jobs that come with a past, on a real nats-server: what counts against them, and states that are of no use.

import { encodeState, encodeTokens } from "@vqd/shared/codec.ts";
import type { JobState } from "@vqd/shared/events.ts";
import { stateSubject } from "@vqd/shared/subjects.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Broker } from "../../gpu-worker/nats/broker.ts";
import type { JobConsumer } from "../../gpu-worker/jobs/consumer.ts";
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

/** Calls into the runtime wait while `gate` does. */
class HeldCalls extends StallWatch {
  gate: Promise<void> = Promise.resolve();
  override run<T>(kind: CallKind, rows: number, work: () => Promise<T>): Promise<T> {
    return this.gate.then(() => super.run(kind, rows, work));
  }
}

const calls = new HeldCalls(LEASE_MS);
let edge: TestEdge;
let broker: Broker;
let models: ModelHost;
let model: HostedModel;
let close: () => Promise<void>;

beforeAll(async () => {
  ({ edge, broker, models, model, close } = await startJobs(calls));
});
afterAll(() => close());

/** While `work` is done a worker serves jobs; it ends after `release`. */
async function serving<T>(work: (consumer: JobConsumer) => Promise<T>, release = (): void => {}): Promise<T> {
  const consumer = makeConsumer(broker, models);
  const run = consumer.run();
  try {
    return await work(consumer);
  } finally {
    consumer.drain();
    release();
    await run;
  }
}

const pixels = (): number => model.info.latentHeight * model.info.latentWidth;

/** A state as a worker like this one leaves it after its first step. */
const stateOf = (changes: Partial<JobState> = {}): JobState => ({
  v: 1,
  attempt: 1,
  numericsId: model.info.numericsId,
  step: 1,
  images: 1,
  starts: 0,
  claims: 1,
  owner: "other",
  ...changes,
});

const store = (id: string, frame: Uint8Array): Promise<unknown> =>
  broker.js.publish(stateSubject(model.key, id), frame);

const masks = (): Uint16Array => new Uint16Array(pixels()).fill(model.info.numEmbeddings);

/** As a worker of a later release may write it. */
function laterState(): Uint8Array {
  const line = new TextEncoder().encode(`${JSON.stringify({ ...stateOf(), v: 2 })}\n`);
  return Buffer.concat([line, encodeTokens(masks())]);
}

it("goes on from a state, as often as it was handed back by workers that could not run it", async () => {
  const job = jobOf(model);
  await store(job.id, encodeState(stateOf(), masks()));
  await edge.send(job, model.key);
  for (let i = 0; i < MAX_ATTEMPTS * 10 + 1; i++) {
    const delivery = await broker.pull({ modelKey: model.key, priority: "normal" }, LEASE_MS);
    delivery?.nak();
  }
  expect(await serving(() => edge.endOf(job.id))).toBe("succeeded");
  expect(edge.eventsOf(job.id)[0]).toMatchObject({ type: "started", resumedFrom: 1 });
  expect((await lastStateOf(broker, job, model.key))?.value).toMatchObject({
    claims: 2,
    starts: 0,
    step: 3,
  });
});

it("gives up a job that was begun too often, whatever steps it has made", async () => {
  const job = jobOf(model);
  await store(job.id, encodeState(stateOf({ claims: MAX_ATTEMPTS * 10 }), masks()));
  await edge.send(job, model.key);
  expect(await serving(() => edge.endOf(job.id))).toBe("failed: attempts_exhausted");
});

it.each([
  ["of a later release", () => laterState()],
  ["that is no state", () => new TextEncoder().encode("{")],
  ["cut within a token", () => encodeState(stateOf(), masks()).subarray(0, -1)],
  [
    "with classes that the model has not",
    () =>
      encodeState(
        stateOf(),
        masks().map((mask) => mask + 1),
      ),
  ],
])("starts over from a state %s", async (_of, frame) => {
  const job = jobOf(model);
  await store(job.id, frame());
  await edge.send(job, model.key);
  expect(await serving(() => edge.endOf(job.id))).toBe("succeeded");
  expect(edge.eventsOf(job.id)[0]).toMatchObject({ type: "started", resumedFrom: 0 });
  expect((await lastStateOf(broker, job, model.key))?.value).toMatchObject({ step: 3 });
});

it("runs a job whose deadline is further away than a timer reaches", async () => {
  const job = jobOf(model, { deadlineAt: Date.now() + 2 ** 32 });
  await edge.send(job, model.key);
  expect(await serving(() => edge.endOf(job.id))).toBe("succeeded");
});

it("does not begin a job whose deadline has passed", async () => {
  const job = jobOf(model, { deadlineAt: Date.now() - 1 });
  await edge.send(job, model.key);
  expect(await serving(() => edge.endOf(job.id))).toBe("failed: deadline_exceeded");
  expect(edge.eventsOf(job.id)).toHaveLength(1);
});

it.each([
  ["not counting it when told to stop", false, 0],
  ["counting it when its call hangs", true, 1],
])("hands a job back that has made no step, %s", async (_why, isToBlame, starts) => {
  const job = jobOf(model);
  const held = Promise.withResolvers<void>();
  calls.gate = held.promise;
  await edge.send(job, model.key);
  await serving(async (consumer) => {
    await edge.until(job.id, "started");
    await consumer.abandon({ isToBlame });
    expect((await lastStateOf(broker, job, model.key))?.value).toMatchObject({
      starts,
      claims: starts,
    });
  }, held.resolve);
  expect(await serving(() => edge.endOf(job.id))).toBe("succeeded");
});
