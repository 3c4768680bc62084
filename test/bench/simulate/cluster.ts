// Workers that share a queue, simulated event by event: the same seed, the same run.

import { Random } from "../random.ts";
import { Agenda } from "./agenda.ts";
import { type SimulatedJob, SimulatedWorker, type WorkerModel } from "./worker.ts";

export interface JobKind {
  readonly images: number;
  readonly steps: number;
  /** Served before jobs of a lower one. */
  readonly priority?: number;
}

export interface ClusterOptions {
  readonly seed: number;
  readonly workers: number;
  readonly model: WorkerModel;
  readonly jobsPerSecond: number;
  /** The next job to arrive. */
  readonly nextJob: (random: Random) => JobKind;
  /** Jobs simulated. The first tenth is not counted: the system fills up. */
  readonly jobs: number;
  /** Jobs that may wait or run at once; one more is refused. */
  readonly queueLimit?: number;
  /** Of each worker: mean time between failures, until its jobs are given to others, and until it is back; ms. */
  readonly failures?: { readonly everyMs: number; readonly leaseMs: number; readonly backMs: number };
}

export interface ClusterResult {
  /** Jobs that arrived and were counted, in order. */
  readonly done: readonly SimulatedJob[];
  readonly refused: number;
  readonly failures: number;
  /** Images a second, while jobs arrived. */
  readonly imagesPerSecond: number;
  /** Share of the time that a worker computes. */
  readonly utilization: number;
}

/** The share of the jobs, at the start, that is not counted. */
const WARM_UP = 0.1;
/** Jobs taken from a queue before their room is used again. */
const COMPACT_AFTER = 1_000;

class Cluster {
  readonly #options: ClusterOptions;
  readonly #agenda = new Agenda();
  readonly #random: Random;
  readonly #failing: Random;
  readonly #workers: SimulatedWorker[];
  /** Waiting jobs by priority, each from the index of its oldest. */
  readonly #waiting = new Map<number, { jobs: SimulatedJob[]; from: number }>();
  /** Workers that have asked for a job, in the order in which they are answered. */
  readonly #asking: SimulatedWorker[];
  readonly #isAsking: Set<SimulatedWorker>;
  readonly #down = new Set<SimulatedWorker>();
  readonly #done: SimulatedJob[] = [];
  #live = 0;
  #refused = 0;
  #failures = 0;
  #arrived = 0;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#failing = new Random(options.seed + 1);
    const onDone = (job: SimulatedJob): void => {
      this.#live--;
      this.#done.push(job);
    };
    const onRoom = (worker: SimulatedWorker): void => this.#ask(worker);
    const { workers, model } = options;
    this.#workers = Array.from(
      { length: workers },
      () => new SimulatedWorker(model, this.#agenda, onDone, onRoom),
    );
    this.#asking = [...this.#workers];
    this.#isAsking = new Set(this.#workers);
  }

  run(): ClusterResult {
    const { jobs, failures } = this.#options;
    this.#scheduleArrival();
    if (failures !== undefined) for (const worker of this.#workers) this.#scheduleFailure(worker);
    let [from, to, busyBefore, busyAfter] = [0, 0, 0, 0];
    const busy = (): number => this.#workers.reduce((sum, { busyMs }) => sum + busyMs, 0);
    const warm = Math.ceil(jobs * WARM_UP);
    // Failures never end by themselves.
    while ((this.#arrived < jobs || this.#live > 0) && this.#agenda.step()) {
      if (from === 0 && this.#arrived >= warm) [from, busyBefore] = [this.#agenda.now, busy()];
      if (to === 0 && this.#arrived >= jobs) [to, busyAfter] = [this.#agenda.now, busy()];
    }
    const images = this.#done
      .filter(({ completedAt }) => completedAt >= from && completedAt < to)
      .reduce((sum, job) => sum + job.images, 0);
    return {
      done: this.#done.filter(({ arrivedAt }) => arrivedAt >= from),
      refused: this.#refused,
      failures: this.#failures,
      imagesPerSecond: (images * 1_000) / (to - from),
      utilization: (busyAfter - busyBefore) / (to - from) / this.#workers.length,
    };
  }

  #scheduleArrival(): void {
    const { jobs, jobsPerSecond, nextJob, queueLimit = Infinity } = this.#options;
    if (this.#arrived >= jobs) return;
    this.#agenda.after(this.#random.exponential(1_000 / jobsPerSecond), () => {
      this.#arrived++;
      const { images, steps, priority = 0 } = nextJob(this.#random);
      if (this.#live >= queueLimit) {
        this.#refused++;
      } else {
        this.#live++;
        const arrivedAt = this.#agenda.now;
        const progress = { startedAt: -1, completedAt: -1, step: 0, ahead: 0, decoded: 0 };
        this.#offer({ images, steps, priority, arrivedAt, ...progress });
      }
      this.#scheduleArrival();
    });
  }

  #offer(job: SimulatedJob): void {
    const worker = this.#firstAsking();
    if (worker === undefined) {
      const queue = this.#waiting.get(job.priority) ?? { jobs: [], from: 0 };
      // One that has been given back is the next.
      if (job.startedAt < 0) queue.jobs.push(job);
      else queue.jobs.splice(queue.from, 0, job);
      this.#waiting.set(job.priority, queue);
      return;
    }
    worker.take(job);
    if (!worker.hasPlace) return;
    this.#isAsking.add(worker);
    this.#asking.push(worker);
  }

  /** Of those that have asked and still have room, the one that did so first. */
  #firstAsking(): SimulatedWorker | undefined {
    for (;;) {
      const worker = this.#asking.shift();
      if (worker === undefined) return undefined;
      this.#isAsking.delete(worker);
      if (worker.hasPlace && !this.#down.has(worker)) return worker;
    }
  }

  #next(): SimulatedJob | undefined {
    for (const priority of [...this.#waiting.keys()].toSorted((a, b) => b - a)) {
      const queue = this.#waiting.get(priority);
      const job = queue?.jobs[queue.from];
      if (queue === undefined || job === undefined) continue;
      queue.from++;
      if (queue.from > COMPACT_AFTER) {
        queue.jobs.splice(0, queue.from);
        queue.from = 0;
      }
      return job;
    }
    return undefined;
  }

  /** Gives the worker what it has room for; if nothing waits it is noted, once. */
  #ask(worker: SimulatedWorker): void {
    if (this.#down.has(worker) || this.#isAsking.has(worker)) return;
    while (worker.hasPlace) {
      const job = this.#next();
      if (job === undefined) {
        this.#isAsking.add(worker);
        this.#asking.push(worker);
        return;
      }
      worker.take(job);
    }
  }

  #scheduleFailure(worker: SimulatedWorker): void {
    const { failures } = this.#options;
    if (failures === undefined) return;
    const { everyMs, leaseMs, backMs } = failures;
    this.#agenda.after(this.#failing.exponential(everyMs), () => {
      this.#failures++;
      this.#down.add(worker);
      for (const job of worker.fail()) this.#agenda.after(leaseMs, () => this.#offer(job));
      this.#agenda.after(backMs, () => {
        this.#down.delete(worker);
        this.#ask(worker);
        this.#scheduleFailure(worker);
      });
    });
  }
}

export const simulateCluster = (options: ClusterOptions): ClusterResult => new Cluster(options).run();

/** Of waits or latencies in ms. */
export function quantilesOf(values: readonly number[]) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
  return { mean, p50: at(0.5), p95: at(0.95), p99: at(0.99) };
}

export const waitOf = ({ arrivedAt, startedAt }: SimulatedJob): number => startedAt - arrivedAt;
