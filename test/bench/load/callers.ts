// Who asks for what: callers of single images and of ten, and the moments at which they ask.

import type { Random } from "../random.ts";

export interface Caller {
  readonly name: string;
  /** Of each of its jobs. */
  readonly images: number;
}

const SINGLE: readonly Caller[] = [1, 2, 3, 4, 5].map((n) => ({ name: `single-${n}`, images: 1 }));
const TEN: Caller = { name: "ten", images: 10 };
export const CALLERS: readonly Caller[] = [...SINGLE, TEN];

/** Ten jobs of a single image to one of ten: each kind asks for half of the images. */
const BLOCK: readonly Caller[] = [...SINGLE, ...SINGLE, TEN];
/** Of a job, on average. */
export const IMAGES_PER_JOB = BLOCK.reduce((sum, { images }) => sum + images, 0) / BLOCK.length;

/**
 * The callers of the next jobs, without end. They come in shuffled blocks, so that a short run has its share of each kind
 * too.
 */
export function* callersInTurn(random: Random): Generator<Caller, never> {
  for (;;) yield* random.shuffled(BLOCK);
}

export interface Arrival {
  /** From the start, ms. */
  readonly atMs: number;
  readonly caller: Caller;
}

/** A Poisson stream of `jobsPerSecond` for `seconds`. */
export function poissonArrivals(random: Random, jobsPerSecond: number, seconds: number): Arrival[] {
  const callers = callersInTurn(random);
  const arrivals: Arrival[] = [];
  for (let atMs = 0; ;) {
    atMs += random.exponential(1_000 / jobsPerSecond);
    if (atMs > seconds * 1_000) return arrivals;
    arrivals.push({ atMs, caller: callers.next().value });
  }
}
