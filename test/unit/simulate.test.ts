// The simulation against queueing theory and against itself.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { LoadReport } from "../bench/load/report.ts";
import type { Random } from "../bench/random.ts";
import {
  type ClusterOptions,
  type JobKind,
  quantilesOf,
  simulateCluster,
  waitOf,
} from "../bench/simulate/cluster.ts";
import type { Measured } from "../bench/simulate/measure.ts";
import { simulatedLoad } from "../bench/simulate/scaling.ts";
import { jobCost, reachOf } from "../bench/simulate/limits.ts";
import { erlangC, meanWaitMD1, meanWaitMDc, meanWaitMMc, waitsLongerMMc } from "../bench/simulate/theory.ts";
import type { WorkerModel } from "../bench/simulate/worker.ts";

/** One job at a time, whose time is as many ms as it has images. */
const SERVER: WorkerModel = { slots: 1, stepMs: [1], decodeMs: 0, startMs: 0, startRounds: 0 };
const SERVICE_MS = 1_000;
const fixed = (): JobKind => ({ images: SERVICE_MS, steps: 1 });
const exponential = (random: Random): JobKind => ({
  images: Math.max(1, Math.round(random.exponential(SERVICE_MS))),
  steps: 1,
});

/** Mean wait, in service times. */
function simulatedWait(servers: number, load: number, nextJob: ClusterOptions["nextJob"]) {
  const { done } = simulateCluster({
    seed: 11,
    workers: servers,
    model: SERVER,
    jobsPerSecond: (load * 1_000) / SERVICE_MS,
    nextJob,
    jobs: 400_000,
  });
  const waits = done.map((job) => waitOf(job) / SERVICE_MS);
  return { waits, mean: quantilesOf(waits).mean };
}

/** Of the mean of 400,000 simulated waits. */
const TOLERANCE = 0.03;
const within = (actual: number, expected: number, tolerance = TOLERANCE): void => {
  expect(Math.abs(actual / expected - 1), `${actual} instead of ${expected}`).toBeLessThan(tolerance);
};

it("knows Erlang's C", () => {
  // One server waits as often as it is busy; two at a load of 1: 1/3 (by hand).
  expect(erlangC(1, 0.7)).toBeCloseTo(0.7);
  expect(erlangC(2, 1)).toBeCloseTo(1 / 3);
  expect(meanWaitMMc(1, 0.5)).toBeCloseTo(1);
  expect(meanWaitMD1(0.5)).toBeCloseTo(0.5);
  expect(meanWaitMDc(1, 0.8)).toBeCloseTo(meanWaitMD1(0.8));
});

it.each([
  [1, 0.5],
  [2, 1.6],
  [20, 17],
])("waits like M/M/c with %i servers at a load of %f", (servers, load) => {
  const { waits, mean } = simulatedWait(servers, load, exponential);
  within(mean, meanWaitMMc(servers, load));
  const longer = waits.filter((wait) => wait > 1).length / waits.length;
  expect(Math.abs(longer - waitsLongerMMc(servers, load, 1))).toBeLessThan(0.01);
});

it.each([
  [1, 0.8],
  [10, 8],
])("waits like M/D/c with %i servers at a load of %f", (servers, load) => {
  within(simulatedWait(servers, load, fixed).mean, meanWaitMDc(servers, load));
});

const GPU: WorkerModel = {
  slots: 8,
  stepMs: [10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
  decodeMs: 5,
  startMs: 4,
  startRounds: 1,
};
const mixed = (random: Random): JobKind => ({ images: random.below(2) === 0 ? 1 : 10, steps: 20 });
const LOADED: ClusterOptions = {
  seed: 5,
  workers: 3,
  model: GPU,
  jobsPerSecond: 3,
  nextJob: mixed,
  jobs: 3_000,
};

it("gives the same for the same seed, and loses no job", () => {
  const once = simulateCluster(LOADED);
  expect(simulateCluster(LOADED)).toEqual(once);
  expect(simulateCluster({ ...LOADED, seed: 6 })).not.toEqual(once);
  expect(once.refused).toBe(0);
  expect(once.done.every(({ images, steps, step, decoded }) => step === steps && decoded === images)).toBe(
    true,
  );
});

it("batches: slots that are shared make more than one job at a time", () => {
  const heavy = { ...LOADED, jobsPerSecond: 100, queueLimit: 40, jobs: 6_000 };
  const together = simulateCluster(heavy);
  const oneByOne = simulateCluster({
    ...heavy,
    model: { ...GPU, slots: 1 },
    nextJob: () => ({ images: 1, steps: 20 }),
  });
  expect(together.refused).toBeGreaterThan(0);
  expect(together.imagesPerSecond).toBeGreaterThan(2 * oneByOne.imagesPerSecond);
  expect(together.utilization).toBeGreaterThan(0.9);
});

it("serves higher priorities first", () => {
  const nextJob = (random: Random): JobKind => ({ images: 100, steps: 1, priority: random.below(2) });
  const { done } = simulateCluster({
    ...LOADED,
    model: SERVER,
    workers: 1,
    jobsPerSecond: 8,
    nextJob,
    jobs: 400_000,
  });
  const wait = (priority: number): number =>
    quantilesOf(done.filter((job) => job.priority === priority).map(waitOf)).mean;
  // Of two classes M/D/1 without preemption (Cobham): W1 = R / (1 - rho1), W0 = W1 / (1 - rho).
  const rest = (0.8 * 100) / 2;
  within(wait(1), rest / (1 - 0.4));
  // Over seeds the mean of so many spreads by 1.7 %.
  within(wait(0), rest / (1 - 0.4) / (1 - 0.8), 3 * 0.017);
});

it("resumes the jobs of workers that fail at the step they had reached", () => {
  const failing = { everyMs: 20_000, leaseMs: 3_000, backMs: 5_000 };
  const { done, failures } = simulateCluster({ ...LOADED, failures: failing });
  expect(failures).toBeGreaterThan(20);
  expect(done.every(({ images, decoded }) => decoded === images)).toBe(true);
  const undisturbed = simulateCluster(LOADED);
  expect(done.length).toBeGreaterThan(0.8 * undisturbed.done.length);
  const latency = ({ arrivedAt, completedAt }: (typeof done)[number]): number => completedAt - arrivedAt;
  expect(quantilesOf(done.map(latency)).p99).toBeGreaterThan(quantilesOf(undisturbed.done.map(latency)).p99);
});

it("counts what a job sends", () => {
  const size = {
    images: 2,
    steps: 10,
    tokens: 256,
    textTokens: 32,
    imageBytes: 10_000,
    seconds: 7,
    leaseSeconds: 10,
  };
  const cost = jobCost(size);
  // Job, started, 10 steps, 2 images, the second with the end.
  expect(cost.stored).toBe(1 + 1 + 10 + 2);
  expect(cost.hubEvents).toBe(1 + 10 + 2);
  // Two pulls, two reads, an acknowledgement, and the lease extended twice in 7 s.
  expect(cost.inMessages - cost.stored).toBe(5 + 2);
  expect(cost.storedBytes).toBeGreaterThan(10 * 2 * 2 * 256 + 2 * 10_000);
  // In 0.1 s: the first step, two intervals, the last step.
  expect(jobCost({ ...size, steps: 100, seconds: 0.1 })).toMatchObject({
    stored: 1 + 1 + 4 + 2,
    hubRows: 39,
  });
  const limits = { storedPerSecond: 1_400, storedBytesPerSecond: 1e9, hubEventsPerSecond: 650 };
  const reach = reachOf(cost, limits, 5);
  expect(reach.natsWorkers).toBeCloseTo(20);
  expect(reach.hubWorkers).toBeCloseTo(10);
});

const RECORDED = join(import.meta.dirname, "..", "bench", "simulate", "recorded");
const read = (name: string): unknown => JSON.parse(readFileSync(join(RECORDED, name), "utf8"));

it("foretells what the load bench has measured on the same machine", () => {
  const report = read("load-1.json") as LoadReport;
  const { slower, levels } = simulatedLoad(read("machine.json") as Measured, report, 1);
  // The edge, NATS and the callers share the machine with the worker, which the simulation does not know.
  expect(slower).toBeGreaterThan(0.9);
  expect(slower).toBeLessThan(1.3);
  const busy = levels.filter(({ load }) => load >= 1.5);
  expect(busy.length).toBeGreaterThan(0);
  for (const { load, single, measured } of busy) {
    // Where the queue is full a wait is its length; a run of a minute still has the time in which it filled.
    expect(single.p50 / measured.single.p50, `p50 at load ${load}`).toBeGreaterThan(0.75);
    expect(single.p50 / measured.single.p50, `p50 at load ${load}`).toBeLessThan(1.33);
  }
});
