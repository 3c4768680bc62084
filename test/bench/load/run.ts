// The parts of the load bench: jobs alone, a queue that is never empty, and a Poisson stream of a given rate.

import { setTimeout as delay } from "node:timers/promises";
import { Random } from "../random.ts";
import { CALLERS, callersInTurn, IMAGES_PER_JOB, poissonArrivals } from "./callers.ts";
import { type Api, type Done, type Outcome, runJob } from "./client.ts";
import { countBy, fairness, imagesWithin, median, summariseClass } from "./summary.ts";

const SINGLE = CALLERS.find(({ images }) => images === 1);
const TEN = CALLERS.find(({ images }) => images === 10);
const ALONE_REPEATS = { single: 7, ten: 3 };
/** What runs at the start of a time of load is not counted: the slots fill up. */
const WARM_UP_MS = 4_000;

const doneOf = (outcomes: readonly Outcome[]): Done[] =>
  outcomes.filter((outcome) => outcome.kind === "done");

/** Latency of a job of either size on an idle system, ms. */
export interface Alone {
  readonly single_ms: number;
  readonly ten_ms: number;
}

const aloneOf = (alone: Alone, images: number): number => (images === 1 ? alone.single_ms : alone.ten_ms);

/** One job at a time; the first of all is not counted. */
export async function measureAlone(api: Api): Promise<Alone> {
  const time = async (caller: typeof SINGLE, repeats: number): Promise<number> => {
    const latencies: number[] = [];
    for (let i = 0; i <= repeats; i++) {
      if (caller === undefined) throw new Error("there is no such caller");
      const outcome = await runJob(api, caller, i, performance.now());
      if (outcome.kind !== "done") throw new Error(`a job alone was not done: ${JSON.stringify(outcome)}`);
      if (i > 0) latencies.push(outcome.latencyMs);
    }
    return Math.round(median(latencies));
  };
  return { single_ms: await time(SINGLE, ALONE_REPEATS.single), ten_ms: await time(TEN, ALONE_REPEATS.ten) };
}

export interface Capacity {
  readonly images_per_second: number;
  readonly jobs_per_second: number;
}

/** What is made while `outstanding` jobs wait or run at any time. */
export async function measureCapacity(
  api: Api,
  seed: number,
  { outstanding, seconds }: { outstanding: number; seconds: number },
): Promise<Capacity> {
  const callers = callersInTurn(new Random(seed));
  const from = Date.now() + WARM_UP_MS;
  const to = from + seconds * 1_000;
  const outcomes: Outcome[] = [];
  let count = 0;
  const keepOneGoing = async (): Promise<void> => {
    while (Date.now() < to) {
      outcomes.push(await runJob(api, callers.next().value, seed + count++, performance.now()));
    }
  };
  await Promise.all(Array.from({ length: outstanding }, keepOneGoing));
  const other = outcomes.find(({ kind }) => kind !== "done");
  if (other !== undefined) throw new Error(`a job was not done: ${JSON.stringify(other)}`);
  const perSecond = imagesWithin(doneOf(outcomes), { from, to }) / seconds;
  return {
    images_per_second: round(perSecond),
    jobs_per_second: round(perSecond / IMAGES_PER_JOB),
  };
}

const round = (value: number): number => Math.round(value * 1_000) / 1_000;

export type Level = Awaited<ReturnType<typeof measureLevel>>;

/** Offers jobs at `load` times the capacity for `seconds`, whatever becomes of them, and waits for the last. */
export async function measureLevel(
  api: Api,
  seed: number,
  { load, capacity, alone, seconds }: { load: number; capacity: Capacity; alone: Alone; seconds: number },
) {
  const arrivals = poissonArrivals(new Random(seed), load * capacity.jobs_per_second, seconds);
  const startedAt = performance.now();
  const window = { from: Date.now() + WARM_UP_MS, to: Date.now() + seconds * 1_000 };
  const running: Promise<Outcome>[] = [];
  for (const [index, { atMs, caller }] of arrivals.entries()) {
    await delay(Math.max(0, startedAt + atMs - performance.now()));
    running.push(runJob(api, caller, seed + index, startedAt + atMs));
  }
  await delay(Math.max(0, window.to - Date.now()));
  const outcomes = await Promise.all(running);
  const done = doneOf(outcomes);
  const refused = outcomes.filter((outcome) => outcome.kind === "refused");
  const failed = outcomes.filter((outcome) => outcome.kind === "failed");
  const offered = arrivals.reduce((sum, { caller }) => sum + caller.images, 0) / seconds;
  const throughput = (imagesWithin(done, window) * 1_000) / (window.to - window.from);
  const ofSize = (images: number): Done[] => done.filter(({ caller }) => caller.images === images);
  return {
    load,
    seconds,
    jobs: arrivals.length,
    offered_images_per_second: round(offered),
    images_per_second: round(throughput),
    jobs_per_second: round(throughput / IMAGES_PER_JOB),
    of_capacity: round(throughput / capacity.images_per_second),
    accepted: done.length,
    refused: countBy(refused, ({ status, code }) => `${status} ${code}`),
    /** From the request to the refusal, ms. */
    refusal_p50: refused.length === 0 ? null : Math.round(median(refused.map(({ latencyMs }) => latencyMs))),
    errors: countBy(failed, ({ reason }) => reason),
    single: summariseClass(ofSize(1), alone.single_ms),
    ten: summariseClass(ofSize(10), alone.ten_ms),
    ...fairness(outcomes, (images) => aloneOf(alone, images)),
  };
}
