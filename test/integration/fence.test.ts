// Batches of two attempts at one job on a real nats-server: the one that claims it last ends the other, of whatever release.

import { encodeEvent, encodeTokens } from "@vqd/shared/codec.ts";
import type { JobState, PredictionEvent } from "@vqd/shared/events.ts";
import { newPredictionId } from "@vqd/shared/ids.ts";
import { encodeBatch } from "@vqd/shared/steps/batch.ts";
import { eventSubject } from "@vqd/shared/subjects.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Broker, StoredState } from "../../gpu-worker/nats/broker.ts";
import { Fence } from "../../gpu-worker/jobs/fence.ts";
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

const { signal } = new AbortController();
const newSubject = (): string => eventSubject(0, TINY_KEY, newPredictionId(0));
const last = (subject: string): Promise<StoredState | undefined> => broker.lastBatch(subject);
const fenceOn = (subject: string, sequence: number): Fence =>
  new Fence({ js: broker.js, subject, read: () => last(subject), sequence, signal });

const stateOf = ({ owner }: Fence, attempt: number, step: number): JobState => ({
  v: 1,
  attempt,
  numericsId: "n",
  step,
  images: 1,
  starts: 0,
  claims: 1,
  owner,
});
const batch = (by: Fence, attempt: number, step: number, n = step): Uint8Array =>
  encodeBatch({
    n,
    state: stateOf(by, attempt, step),
    tokens: encodeTokens(Uint16Array.of(step, 2, 3)),
    events: [],
  });

it("lets the attempt that claimed last go on, and no other", async () => {
  const subject = newSubject();
  const first = fenceOn(subject, 0);
  for (const step of [0, 1]) expect(await first.write(batch(first, 1, step), signal, step)).toBe(true);
  const seen = await last(subject);
  expect(seen).toMatchObject({ value: stateOf(first, 1, 1), n: 1 });

  const second = fenceOn(subject, seen?.sequence ?? 0);
  expect(await second.write(batch(second, 2, 1, 0), signal, 0)).toBe(true);
  expect(await first.write(batch(first, 1, 2), signal, 2)).toBe(false);
  expect(await second.write(batch(second, 2, 2, 1), signal, 1)).toBe(true);
  expect(await last(subject)).toMatchObject({ value: stateOf(second, 2, 2) });
  // One that has seen nothing of this does not begin.
  const blind = fenceOn(subject, 0);
  expect(await blind.write(batch(blind, 1, 0), signal, 0)).toBe(false);
});

it("ends for an event of a worker that knows no batches", async () => {
  const subject = newSubject();
  const mine = fenceOn(subject, 0);
  expect(await mine.write(batch(mine, 1, 0), signal, 0)).toBe(true);
  const event: PredictionEvent = {
    v: 1,
    attempt: 2,
    at: Date.now(),
    type: "started",
    worker: "w",
    numericsId: "n",
    resumedFrom: 0,
    total: 3,
  };
  await broker.js.publish(subject, encodeEvent(event));
  expect(await mine.write(batch(mine, 1, 1), signal, 1)).toBe(false);
  expect(await last(subject)).toMatchObject({ value: undefined });
});

it("does not write a batch twice whose confirmation was lost, and goes on after what has aged away", async () => {
  const subject = newSubject();
  const mine = fenceOn(subject, 0);
  expect(await mine.write(batch(mine, 1, 0), signal, 0)).toBe(true);
  // As if this had been written without a confirmation.
  const { seq } = await broker.js.publish(subject, batch(mine, 1, 1));
  expect(await mine.write(batch(mine, 1, 1), signal, 1)).toBe(true);
  expect((await last(subject))?.sequence).toBe(seq);
  expect(await mine.write(batch(mine, 1, 2), signal, 2)).toBe(true);
  expect(await last(subject)).toMatchObject({ value: { step: 2 }, sequence: seq + 1 });
  const aged = newSubject();
  const late = fenceOn(aged, 4_711);
  expect(await late.write(batch(late, 2, 1), signal, 7)).toBe(true);
});
