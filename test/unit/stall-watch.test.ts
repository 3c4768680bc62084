// When a call is taken for hung.

import { expect, it } from "vitest";
import { StallWatch } from "../../gpu-worker/watchdog/stall-watch.ts";

const later = (ms: number): number => performance.now() + ms;

it("takes a call for hung that takes many times what the slowest like it took", async () => {
  const watch = new StallWatch(1_000);
  const hung = watch.run("pass", 2, () => new Promise<never>(() => {}));
  // Nothing is known of passes yet.
  expect(watch.stalled(later(5_000))).toBeUndefined();
  expect(watch.stalled(later(7_000))).toMatchObject({ kind: "pass" });
  await watch.run("pass", 1, async () => {});
  expect(watch.stalled(later(500))).toBeUndefined();
  expect(watch.stalled(later(1_100))).toMatchObject({ kind: "pass" });
  expect(watch.stalled(later(1_100))?.seconds).toBeCloseTo(1.1, 1);
  void hung;
});

it("allows for a slow model and for a large batch", async () => {
  const watch = new StallWatch(10);
  await watch.run("pass", 1, () => new Promise((resolve) => setTimeout(resolve, 20)));
  void watch.run("pass", 3, () => new Promise<never>(() => {}));
  expect(watch.stalled(later(500))).toBeUndefined();
  expect(watch.stalled(later(10_000))).toBeDefined();
  expect(watch.slowestPassMs).toBeGreaterThanOrEqual(19);
});

it("forgets calls that have ended, well or not", async () => {
  const watch = new StallWatch(1);
  await watch.run("decode", 1, async () => {});
  await expect(watch.run("decode", 1, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(watch.stalled(later(1e6))).toBeUndefined();
});
