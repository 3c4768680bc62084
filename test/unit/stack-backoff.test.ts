// Waiting times between restarts.

import { expect, it } from "vitest";
import { Backoff } from "../../infra/stack/children/backoff.ts";

it("doubles from a quarter of a second up to a limit", () => {
  const backoff = new Backoff();
  const delays = Array.from({ length: 9 }, () => backoff.next());
  expect(delays).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
});

it("starts anew after the process served for a while, but not after a short life", () => {
  let now = 0;
  const backoff = new Backoff(() => now);
  const live = (ms: number): number => {
    backoff.started();
    now += ms;
    return backoff.next();
  };
  expect(live(60_000)).toBe(250);
  expect(live(100)).toBe(500);
  expect(live(9_999)).toBe(1_000);
  expect(live(10_000)).toBe(250);
  // A start that never came up is no life at all.
  expect(backoff.next()).toBe(500);
});
