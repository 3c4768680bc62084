// The load bench's arithmetic: who asks when, and what is made of the outcomes.

import { expect, it } from "vitest";
import { CALLERS, IMAGES_PER_JOB, poissonArrivals } from "../bench/load/callers.ts";
import type { Done } from "../bench/load/client.ts";
import { imagesWithin, jainIndex, summariseClass } from "../bench/load/summary.ts";
import { Random } from "../bench/random.ts";

const SECONDS = 2_000;
const RATE = 5;

it("offers a Poisson stream: the rate, exponential gaps, and the same again for the same seed", () => {
  const arrivals = poissonArrivals(new Random(3), RATE, SECONDS);
  expect(arrivals.length / SECONDS).toBeCloseTo(RATE, 0);
  const gaps = arrivals.slice(1).map(({ atMs }, i) => atMs - (arrivals[i]?.atMs ?? 0));
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
  // An exponential distribution's standard deviation is its mean.
  expect(Math.sqrt(variance) / mean).toBeCloseTo(1, 1);
  expect(poissonArrivals(new Random(3), RATE, SECONDS)).toEqual(arrivals);
  expect(poissonArrivals(new Random(4), RATE, SECONDS)).not.toEqual(arrivals);
});

it("lets both kinds of callers ask for half of the images, also in a short time", () => {
  const arrivals = poissonArrivals(new Random(1), RATE, 20);
  const images = (kind: number): number =>
    arrivals.reduce((sum, { caller }) => sum + (caller.images === kind ? kind : 0), 0);
  expect(Math.abs(images(1) - images(10))).toBeLessThanOrEqual(10);
  expect((images(1) + images(10)) / arrivals.length).toBeCloseTo(IMAGES_PER_JOB, 0);
  expect(new Set(arrivals.map(({ caller }) => caller.name)).size).toBe(CALLERS.length);
});

const job = (images: number, startedAt: number, completedAt: number, latencyMs = 0): Done => ({
  kind: "done",
  caller: { name: "x", images },
  latencyMs,
  startedAt,
  completedAt,
});

it("counts of each job the part that lies in the window", () => {
  const jobs = [job(1, 100, 200), job(10, 0, 200), job(4, 150, 250), job(7, 300, 400)];
  expect(imagesWithin(jobs, { from: 100, to: 200 })).toBeCloseTo(1 + 5 + 2);
});

it("gives Jain's index: 1 for equals, 1/n for one that has all", () => {
  expect(jainIndex([3, 3, 3])).toBeCloseTo(1);
  expect(jainIndex([1, 0, 0, 0])).toBeCloseTo(0.25);
  // (1 + 2 + 3)^2 / (3 x 14)
  expect(jainIndex([1, 2, 3])).toBeCloseTo(36 / 42);
});

it("sets latencies against the time alone", () => {
  const jobs = Array.from({ length: 100 }, (_, i) => job(1, 0, 1, 100 + i));
  expect(summariseClass(jobs, 100)).toEqual({
    jobs: 100,
    p50: 150,
    p95: 195,
    slowdown: 1.5,
    slowdown_p95: 1.95,
  });
});
