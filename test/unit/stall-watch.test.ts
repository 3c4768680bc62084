// When a call is taken for hung.

import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { StallWatch } from "../../gpu-worker/watchdog/stall-watch.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});
const later = (ms: number): number => performance.now() + ms;
const hang = () => new Promise<never>(() => {});

it("takes a call for hung that takes many times what the slowest like it took", async () => {
  const watch = new StallWatch(1_000);
  void watch.run("pass", 2, hang);
  // Nothing is known of passes yet.
  expect(watch.stalled(later(6_000))).toBeUndefined();
  expect(watch.stalled(later(6_001))).toMatchObject({ kind: "pass" });
  await watch.run("pass", 1, async () => {});
  expect(watch.stalled(later(1_000))).toBeUndefined();
  expect(watch.stalled(later(1_100))).toEqual({ kind: "pass", seconds: 1.1 });
});

it("allows for a slow model and for a large batch", async () => {
  const watch = new StallWatch(10);
  await watch.run("pass", 1, async () => void vi.advanceTimersByTime(20));
  expect(watch.slowestPassMs).toBe(20);
  void watch.run("pass", 3, hang);
  expect(watch.stalled(later(600))).toBeUndefined();
  expect(watch.stalled(later(601))).toBeDefined();
});

it("forgets calls that have ended, well or not", async () => {
  const watch = new StallWatch(1);
  await watch.run("decode", 1, async () => {});
  await expect(watch.run("decode", 1, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(watch.stalled(later(1e6))).toBeUndefined();
});

it("gives the first call of each shape time to compile, and does not compare others with it, where shapes are prepared", async () => {
  const watch = new StallWatch(1_000, { preparesShapes: true });
  const pass = (ms: number, shape: string) =>
    watch.run("pass", 1, async () => void vi.advanceTimersByTime(ms), shape);
  await pass(5_900, "one");
  await pass(50, "one");
  expect(watch.slowestPassMs).toBe(50);
  void watch.run("pass", 1, hang, "several");
  expect(watch.stalled(later(6_000))).toBeUndefined();
  expect(watch.stalled(later(6_001))).toBeDefined();
  await pass(50, "several");
  expect(watch.slowestPassMs).toBe(50);
  const known = new StallWatch(1_000, { preparesShapes: true });
  for (let i = 0; i < 2; i++) await known.run("pass", 1, async () => void vi.advanceTimersByTime(50), "one");
  void known.run("pass", 1, hang, "one");
  expect(known.stalled(later(1_000))).toBeUndefined();
  expect(known.stalled(later(1_001))).toBeDefined();
});
