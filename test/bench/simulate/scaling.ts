// From measured figures to what a number of workers does: the worker's model, its capacity, waits, and limits.

import { callersInTurn, IMAGES_PER_JOB } from "../load/callers.ts";
import type { LoadReport } from "../load/report.ts";
import { Random } from "../random.ts";
import { type ClusterOptions, quantilesOf, simulateCluster, waitOf } from "./cluster.ts";
import { jobCost, type Limits } from "./limits.ts";
import type { Measured } from "./measure.ts";
import type { WorkerModel } from "./worker.ts";

export interface Scenario {
  readonly slots: number;
  readonly threads: number;
  readonly steps: number;
  readonly seed: number;
}

/** From a free slot to the first pass on an idle worker: a pull, a read of the stored state, the prompt. */
const START_MS = 12;
/** On a busy one a tenth of a step, as `npm run bench -- cancel` sees it: from "stopped" to "begun". */
const START_ROUNDS = 0;
/** Of the bundled model. */
const TOKENS = 256;
const TEXT_TOKENS = 32;
const LEASE_SECONDS = 10;
/** Enough for waits at the 99th percentile; more where workers are many, for each is to have its share. */
const MIN_JOBS = 40_000;
const JOBS_PER_WORKER = 150;

export function workerModel(
  { steps: figures, machine }: Measured,
  { slots, threads }: Scenario,
): WorkerModel {
  const measured = figures.find((one) => one.threads === threads);
  if (measured === undefined) {
    const known = figures.map((one) => one.threads).join(", ");
    throw new Error(`steps were not measured with ${threads} threads, only with ${known}`);
  }
  const { step_ms: stepMs, decode_ms: decodeMs } = measured;
  // Steps and decoding have a thread of their own each, of so many threads.
  const decodesBeside = 2 * threads <= machine.cores;
  return { slots, stepMs, decodeMs, decodesBeside, startMs: START_MS, startRounds: START_ROUNDS };
}

/** The jobs of the load bench: half of the images alone, half in jobs of ten. */
function jobsOf(scenario: Scenario): ClusterOptions["nextJob"] {
  const callers = callersInTurn(new Random(scenario.seed + 1));
  return () => ({ images: callers.next().value.images, steps: scenario.steps });
}

/** What a worker makes that is never without work: images a second. */
export function workerCapacity(model: WorkerModel, scenario: Scenario): number {
  const imageMs = scenario.steps * (model.stepMs[0] ?? 1) + model.decodeMs;
  const { imagesPerSecond } = simulateCluster({
    seed: scenario.seed,
    workers: 1,
    model,
    // Three times what could be made one by one: the queue is always full.
    jobsPerSecond: 3_000 / imageMs,
    nextJob: jobsOf(scenario),
    jobs: MIN_JOBS,
    queueLimit: 6 * scenario.slots,
  });
  return imagesPerSecond;
}

export interface ScalingRow {
  readonly workers: number;
  readonly images_per_second: number;
  readonly jobs_per_second: number;
  readonly utilization: number;
  readonly refused: number;
  /** From arrival to the first step, ms. */
  readonly wait_ms: ReturnType<typeof quantilesOf>;
  readonly stored_per_second: number;
  readonly stored_mb_per_second: number;
  readonly hub_events_per_second: number;
  /** Share of what one nats-server stores, and hubs at their limit. */
  readonly nats_share: number;
  readonly hubs: number;
}

export const limitsOf = ({ nats, hub }: Measured): Limits => ({
  storedPerSecond: nats.stored_per_second,
  storedBytesPerSecond: nats.stored_bytes_per_second,
  hubEventsPerSecond: hub.events_per_second,
});

/** The cost of an average job of the load: ten of one image to one of ten. */
export function averageCost(
  measured: Measured,
  { steps, threads }: Scenario,
  secondsOf: (images: number) => number,
) {
  const imageBytes = measured.steps.find((one) => one.threads === threads)?.image_bytes ?? 0;
  const size = { steps, tokens: TOKENS, textTokens: TEXT_TOKENS, imageBytes, leaseSeconds: LEASE_SECONDS };
  const one = jobCost({ ...size, images: 1, seconds: secondsOf(1) });
  const ten = jobCost({ ...size, images: 10, seconds: secondsOf(10) });
  const share = (10 - IMAGES_PER_JOB) / 9;
  const mean = (key: keyof typeof one): number => share * one[key] + (1 - share) * ten[key];
  return { one, ten, stored: mean("stored"), storedBytes: mean("storedBytes"), hubEvents: mean("hubEvents") };
}

/** Time of a job alone on a worker, s. */
export function aloneSeconds(model: WorkerModel, steps: number, images: number): number {
  const pass = model.stepMs[images - 1] ?? ((model.stepMs.at(-1) ?? 0) * images) / model.stepMs.length;
  return (model.startMs + steps * pass + images * model.decodeMs) / 1_000;
}

export function scalingRow(
  measured: Measured,
  scenario: Scenario,
  { workers, load, capacity }: { workers: number; load: number; capacity: number },
): ScalingRow {
  const model = workerModel(measured, scenario);
  const jobsPerSecond = (load * workers * capacity) / IMAGES_PER_JOB;
  const result = simulateCluster({
    seed: scenario.seed,
    workers,
    model,
    jobsPerSecond,
    nextJob: jobsOf(scenario),
    jobs: Math.max(MIN_JOBS, workers * JOBS_PER_WORKER),
  });
  const cost = averageCost(measured, scenario, (images) => aloneSeconds(model, scenario.steps, images));
  const limits = limitsOf(measured);
  const made = result.imagesPerSecond / IMAGES_PER_JOB;
  const natsShare = Math.max(
    (made * cost.stored) / limits.storedPerSecond,
    (made * cost.storedBytes) / limits.storedBytesPerSecond,
  );
  return {
    workers,
    images_per_second: result.imagesPerSecond,
    jobs_per_second: made,
    utilization: result.utilization,
    refused: result.refused,
    wait_ms: quantilesOf(result.done.map(waitOf)),
    stored_per_second: made * cost.stored,
    stored_mb_per_second: (made * cost.storedBytes) / 1e6,
    hub_events_per_second: made * cost.hubEvents,
    nats_share: natsShare,
    hubs: Math.ceil((made * cost.hubEvents) / limits.hubEventsPerSecond),
  };
}

/**
 * What the simulation says of the load bench's own runs: the same rate of arrivals, jobs, slots and queue. The worker of
 * those runs shares the machine with the edge, NATS and the callers, and is slower for it: `slower` says by how much, so
 * that the capacities agree, and what is compared is the waiting.
 */
export function simulatedLoad(measured: Measured, report: LoadReport, seed: number) {
  const scenario = { slots: report.slots, threads: 1, steps: report.steps, seed };
  const undisturbed = workerModel(measured, scenario);
  const capacity = workerCapacity(undisturbed, scenario) * report.workers;
  const slower = capacity / report.capacity.images_per_second;
  const model = {
    ...undisturbed,
    stepMs: undisturbed.stepMs.map((ms) => ms * slower),
    decodeMs: undisturbed.decodeMs * slower,
  };
  // What the client sees beyond the worker: the edge, HTTP, the events on their way.
  const edgeMs = Math.max(0, report.alone.single_ms - 1_000 * aloneSeconds(model, report.steps, 1));
  return {
    capacity,
    slower,
    edge_ms: edgeMs,
    levels: report.levels.map(({ load, ...level }) => {
      const { done, refused, imagesPerSecond } = simulateCluster({
        seed,
        workers: report.workers,
        model,
        jobsPerSecond: (load * report.capacity.images_per_second) / IMAGES_PER_JOB,
        nextJob: jobsOf(scenario),
        jobs: MIN_JOBS,
        queueLimit: report.queueLimit,
      });
      const latency = (images: number) =>
        quantilesOf(
          done
            .filter((job) => job.images === images)
            .map(({ arrivedAt, completedAt }) => completedAt - arrivedAt + edgeMs),
        );
      return {
        load,
        images_per_second: imagesPerSecond,
        refused_share: refused / MIN_JOBS,
        single: latency(1),
        ten: latency(10),
        measured: level,
      };
    }),
  };
}
