// Two attempts at one job on a real nats-server: the one that claims it last ends the other.

import { decodeTokens, encodeState } from "@vqd/shared/codec.ts";
import type { JobState } from "@vqd/shared/events.ts";
import { stateSubject } from "@vqd/shared/subjects.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Broker, StoredState } from "../../gpu-worker/nats/broker.ts";
import { StateWriter } from "../../gpu-worker/jobs/state-writer.ts";
import { connectWorker, startTestNats, type TestNats, TINY_KEY } from "./support/nats.ts";

let nats: TestNats;
let broker: Broker;
beforeAll(async () => {
  nats = await startTestNats();
  broker = await connectWorker(nats);
});
afterAll(async () => {
  await broker.close();
  await nats.stop();
});

const forever = new AbortController().signal;
const TOKENS = Uint16Array.of(1, 2, 3);

const lastState = (predictionId: string): Promise<StoredState | undefined> =>
  broker.lastState([stateSubject(TINY_KEY, predictionId)]);

const writer = (predictionId: string, sequence: number, signal = forever): StateWriter =>
  new StateWriter({
    js: broker.js,
    subject: stateSubject(TINY_KEY, predictionId),
    read: () => lastState(predictionId),
    sequence,
    signal,
  });

const state = (by: StateWriter, attempt: number, step: number): JobState => ({
  v: 1,
  attempt,
  numericsId: "n",
  step,
  images: 1,
  starts: 0,
  claims: 1,
  owner: by.owner,
});

it("lets the attempt that began last go on, and no other", async () => {
  const first = writer("one", 0);
  expect(await first.write(state(first, 1, 0), TOKENS)).toBe(true);
  expect(await first.write(state(first, 1, 1), TOKENS)).toBe(true);
  const seen = await lastState("one");
  expect(seen?.value).toMatchObject({ attempt: 1, step: 1 });

  const second = writer("one", seen?.sequence ?? 0);
  expect(await second.write(state(second, 2, 1), TOKENS)).toBe(true);
  expect(await first.write(state(first, 1, 2), TOKENS)).toBe(false);
  expect(await second.write(state(second, 2, 2), Uint16Array.of(4))).toBe(true);
  const newest = await lastState("one");
  expect(newest?.value).toEqual(state(second, 2, 2));
  expect([...decodeTokens(newest?.attachment ?? new Uint8Array())]).toEqual([4]);
});

it("does not begin from a state that is no longer the newest", async () => {
  const first = writer("two", 0);
  expect(await first.write(state(first, 1, 0), TOKENS)).toBe(true);
  const seen = await lastState("two");
  expect(await first.write(state(first, 1, 1), TOKENS)).toBe(true);
  const late = writer("two", seen?.sequence ?? 0);
  expect(await late.write(state(late, 2, 0), TOKENS)).toBe(false);
  const blind = writer("two", 0);
  expect(await blind.write(state(blind, 2, 0), TOKENS)).toBe(false);
  expect((await lastState("two"))?.value).toMatchObject({ attempt: 1, step: 1 });
});

it("goes on after a write whose confirmation was lost, and after the state has aged away", async () => {
  const first = writer("three", 0);
  expect(await first.write(state(first, 1, 0), TOKENS)).toBe(true);
  // As if the confirmation of its next write had not arrived: it knows its own states again.
  await broker.js.publish(stateSubject(TINY_KEY, "three"), encodeState(state(first, 1, 1), TOKENS));
  expect(await first.write(state(first, 1, 1), TOKENS)).toBe(true);
  const unknown = writer("four", 4_711);
  expect(await unknown.write(state(unknown, 1, 0), TOKENS)).toBe(true);
});

it("gives up when it is told to", async () => {
  expect(await writer("five", 0, AbortSignal.abort()).write(state(writer("five", 0), 1, 0), TOKENS)).toBe(
    false,
  );
});
