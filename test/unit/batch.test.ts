// What has happened to a job in one message: all of it is read back, with the state, and what is no batch is refused.

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Framed } from "../../shared/codec.ts";
import { encodeEvent } from "../../shared/codec.ts";
import { VqdError } from "../../shared/errors.ts";
import type { JobState, PredictionEvent } from "../../shared/events.ts";
import { decodeBatchState, decodeEvents, encodeBatch, isBatch } from "../../shared/steps/batch.ts";
import { packStates, unpackStates } from "../../shared/steps/packed.ts";
import { damaged } from "../support/frames.ts";

const states = fc
  .tuple(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1, max: 8 }), fc.infiniteStream(fc.nat()))
  .map(([tokens, count, random]) => {
    // Each differs from the last in some tokens: none, few, or all.
    let state = new Uint8Array(2 * tokens);
    return Array.from({ length: count }, () => {
      state = state.slice();
      for (let left = (random.next().value ?? 0) % (tokens + 1); left > 0; left--) {
        state[(random.next().value ?? 0) % state.length] = random.next().value ?? 0;
      }
      return state;
    });
  });

describe("packed states", () => {
  it("are unpacked as they were", () => {
    fc.assert(
      fc.property(states, (all) => {
        const [first = new Uint8Array()] = all;
        expect(unpackStates(packStates(all), all.length, first.length)).toEqual(all);
      }),
    );
  });

  it("take little more than one, where steps change little", () => {
    const pixels = 1_024;
    const state = new Uint16Array(pixels).fill(4_096);
    const all = Array.from({ length: 100 }, (_, step) => {
      for (let at = step; at < pixels; at += 100) state[at] = at;
      return new Uint8Array(state.slice().buffer);
    });
    expect(packStates(all).length).toBeLessThan(3 * 2 * pixels);
  });

  it("of another number or size are refused", () => {
    const packed = packStates([Uint8Array.of(1, 0, 2, 0), Uint8Array.of(1, 0, 3, 0)]);
    for (const [bytes, count, size] of [
      [packed, 1, 4],
      [packed, 3, 4],
      [packed, 2, 2],
      [packed.subarray(1), 2, 4],
      [Uint8Array.of(1, 0, 3, 0, 1, 2, 0, 0), 2, 4],
      [Uint8Array.of(1, 0, 3, 0, 0xff, 0xff, 0xff, 0xff, 1), 2, 4],
    ] as const) {
      expect(() => unpackStates(bytes, count, size)).toThrow(VqdError);
    }
  });
});

const state: JobState = {
  v: 1,
  attempt: 2,
  numericsId: "n",
  step: 3,
  images: 1,
  starts: 0,
  claims: 2,
  owner: "abcdef01",
};
const base = { v: 1, attempt: 2, at: 1_700_000_000_000 } as const;
const none = new Uint8Array();
const step = (number: number, tokens: Uint8Array): Framed<PredictionEvent> => ({
  value: {
    ...base,
    at: base.at + number,
    type: "step",
    step: number,
    total: 4,
    timestep: 4 - number,
    masked: 1,
    images: 1,
  },
  attachment: Uint8Array.from(tokens),
});
const events: Framed<PredictionEvent>[] = [
  {
    value: { ...base, type: "started", worker: "w", numericsId: "n", resumedFrom: 0, total: 4, yields: true },
    attachment: none,
  },
  {
    value: { ...base, type: "beginning", step: 0, images: 1, held: null },
    attachment: Uint8Array.of(1, 0, 2, 0),
  },
  step(1, Uint8Array.of(1, 0, 5, 0)),
  {
    value: { ...base, type: "preview", index: 0, preview: 0, step: 1, format: "png", width: 2, height: 1 },
    attachment: Uint8Array.of(7, 8, 9),
  },
  step(2, Uint8Array.of(1, 0, 5, 0)),
  step(3, Uint8Array.of(4, 1, 5, 0)),
  {
    value: { ...base, type: "output", index: 0, format: "png", width: 2, height: 1, seed: 7 },
    attachment: Uint8Array.of(9, 9),
  },
  { value: { ...base, type: "succeeded", predictSeconds: 1.5 }, attachment: none },
];
const tokens = Uint8Array.of(4, 1, 5, 0);
const frame = encodeBatch({ n: 5, state, tokens, events });

describe("a batch", () => {
  it("has its events, in order, with what is attached to each", () => {
    expect(decodeEvents(frame)).toEqual(events);
    expect(isBatch(frame)).toBe(true);
  });

  it("has the state after them", () => {
    expect(decodeBatchState(frame)).toEqual({ n: 5, value: state, attachment: tokens });
    const claim = encodeBatch({
      n: 0,
      state: { ...state, step: 0 },
      tokens: none,
      events: events.slice(0, 1),
    });
    expect(decodeBatchState(claim)).toMatchObject({ n: 0, attachment: none });
    // Of a worker that takes over, before it has made a step.
    const taken = encodeBatch({ n: 0, state, tokens, events: [] });
    expect(decodeBatchState(taken).attachment).toEqual(tokens);
    expect(decodeEvents(taken)).toEqual([]);
  });

  it("is not mistaken for an event of its own, nor the other way round", () => {
    for (const { value, attachment } of events) {
      const single = encodeEvent(value, attachment);
      expect(isBatch(single)).toBe(false);
      expect(decodeEvents(single)).toEqual([{ value, attachment }]);
    }
  });

  it("that is damaged is refused with an error of ours, or read as a batch", () => {
    fc.assert(
      fc.property(damaged(frame), (bytes) => {
        try {
          for (const { value } of decodeEvents(bytes)) expect(value.v).toBe(1);
        } catch (error) {
          expect(error).toBeInstanceOf(VqdError);
        }
      }),
    );
  });
});
