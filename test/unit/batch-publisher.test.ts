// How a worker batches what happens: in order, at intervals, and as much as a message may hold.

import { expect, it } from "vitest";
import type { PredictionEvent } from "@vqd/shared/events.ts";
import { decodeBatchState, decodeEvents } from "@vqd/shared/steps/batch.ts";
import { BatchPublisher } from "../../gpu-worker/jobs/batch-publisher.ts";
import { Fence } from "../../gpu-worker/jobs/fence.ts";

/** Stands for JetStream: the messages of a subject, of which each must name the last. Not a broker: nats-server is that in others. */
function subject() {
  const frames: Uint8Array[] = [];
  const waiting: (() => void)[] = [];
  const js = {
    isHeld: false,
    async publish(_: string, frame: Uint8Array) {
      if (js.isHeld) await new Promise<void>((resolve) => waiting.push(resolve));
      frames.push(frame);
      return { seq: frames.length };
    },
    /** Confirms what is being sent. */
    release(): void {
      for (const next of waiting.splice(0)) next();
    },
  };
  return { frames, js };
}

function publisherOn(js: object, { intervalMs = 10_000, maxPayload = 1024 ** 2 } = {}) {
  const { signal } = new AbortController();
  const fence = new Fence({
    js: js as ConstructorParameters<typeof Fence>[0]["js"],
    subject: "s",
    read: async () => undefined,
    sequence: 0,
    signal,
  });
  return new BatchPublisher({
    fence,
    intervalMs,
    attempt: 1,
    numericsId: "n",
    startsBefore: 0,
    claimsBefore: 0,
    onReplaced: () => expect.fail("replaced"),
    maxPayload: () => maxPayload,
    signal,
  });
}

const TOTAL = 100;
const started = { type: "started", worker: "w", numericsId: "n", resumedFrom: 0, total: TOTAL } as const;
const step = (number: number, pixels = 4): [Parameters<BatchPublisher["publishStep"]>[0], Uint16Array] => [
  { type: "step", step: number, total: TOTAL, timestep: TOTAL - number, masked: 0, images: 1 },
  new Uint16Array(pixels).fill(number),
];
const names = (frame: Uint8Array): string[] =>
  decodeEvents(frame).map(({ value }: { value: PredictionEvent }) =>
    value.type === "step" ? String(value.step) : value.type,
  );
const { signal } = new AbortController();

it("sends the start with the claim, the first step and the last at once, and the end with the image", async () => {
  const { frames, js } = subject();
  const publisher = publisherOn(js);
  expect(await publisher.claim({ resume: undefined, images: 1, started }, signal)).toBe(true);
  publisher.publishStep(...step(1));
  await expect.poll(() => frames.length).toBe(2);
  for (let number = 2; number < TOTAL; number++) publisher.publishStep(...step(number));
  expect(frames.length).toBe(2);
  publisher.publishStep(...step(TOTAL));
  await expect.poll(() => frames.length).toBe(3);
  const image = Uint8Array.of(1, 2, 3);
  publisher.publish({ type: "output", index: 0, format: "png", width: 1, height: 1, seed: 1 }, image);
  publisher.publish({ type: "succeeded", predictSeconds: 1 });
  await publisher.finish();
  const upTo = Array.from({ length: TOTAL - 1 }, (_, i) => String(i + 2));
  expect(frames.map(names)).toEqual([["started"], ["1"], upTo, ["output", "succeeded"]]);
  for (const frame of frames.slice(2)) {
    expect(decodeBatchState(frame)).toMatchObject({ value: { step: TOTAL, starts: 0, claims: 1 } });
  }
  expect(decodeBatchState(frames[0] ?? new Uint8Array()).value).toMatchObject({ step: 0, starts: 1 });
});

it("sends one message at a time, and the next with all that has happened meanwhile", async () => {
  const { frames, js } = subject();
  const publisher = publisherOn(js, { intervalMs: 0 });
  await publisher.claim({ resume: undefined, images: 1, started }, signal);
  js.isHeld = true;
  publisher.publishStep(...step(1));
  await new Promise((resolve) => setTimeout(resolve, 5));
  for (const number of [2, 3, 4]) publisher.publishStep(...step(number));
  js.isHeld = false;
  js.release();
  await publisher.flush();
  expect(frames.slice(1).map(names)).toEqual([["1"], ["2", "3", "4"]]);
});

it("divides what does not fit into a message, each with the state after its own steps", async () => {
  const { frames, js } = subject();
  const publisher = publisherOn(js, { maxPayload: 64 * 1024 });
  await publisher.claim({ resume: undefined, images: 1, started }, signal);
  for (let number = 1; number <= TOTAL; number++) publisher.publishStep(...step(number, 1_024));
  await publisher.finish();
  expect(frames.length).toBeGreaterThan(3);
  for (const frame of frames) {
    expect(frame.length).toBeLessThan(64 * 1024);
    const last = decodeEvents(frame).findLast(({ value }) => value.type === "step")?.value;
    if (last?.type === "step") expect(decodeBatchState(frame).value?.step).toBe(last.step);
  }
  expect(frames.flatMap(names)).toEqual([
    "started",
    ...Array.from({ length: TOTAL }, (_, i) => String(i + 1)),
  ]);
});

it("says with a message of its own that an attempt does not count, and that the job goes back", async () => {
  const { frames, js } = subject();
  const publisher = publisherOn(js);
  await publisher.claim({ resume: undefined, images: 1, started }, signal);
  publisher.withdraw();
  await publisher.flush();
  expect(decodeBatchState(frames[1] ?? new Uint8Array()).value).toMatchObject({ starts: 0, claims: 0 });
  await publisher.yield(0.5);
  expect(names(frames[2] ?? new Uint8Array())).toEqual(["yielded"]);
});
