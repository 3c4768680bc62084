// Compares results with recorded ones, and reports the outcome.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";

/** The outcome of one stage. */
export interface StageResult {
  /** Number of comparisons; 0 if the set holds nothing for this stage. */
  readonly cases: number;
  /** Largest absolute difference, where numbers are compared; NaN if one of them is NaN. */
  readonly maxAbsDiff?: number;
  /** Upper limit of `maxAbsDiff`. */
  readonly limit?: number;
  /** Whether everything is equal, where equality is compared. */
  readonly exact?: boolean;
  /** The cases that differ, at most ten. */
  readonly differing?: readonly string[];
  readonly pass: boolean;
}

const MAX_NAMED = 10;

/** Largest absolute difference; NaN if the lengths differ or a value is NaN. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.NaN;
  let max = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] ?? outOfBounds()) - (b[i] ?? outOfBounds()));
    if (!(difference <= max)) max = difference;
    if (Number.isNaN(max)) return max;
  }
  return max;
}

export function isEqual(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  return a.length === b.length && Array.prototype.every.call(a, (value, i) => value === b[i]);
}

/** [classes, pixels] → [pixels, classes]: the reference puts classes before pixels, we put them after. */
export function pixelsFirst(data: ArrayLike<number>, classes: number): Float64Array {
  const pixels = data.length / classes;
  const result = new Float64Array(data.length);
  for (let k = 0; k < classes; k++) {
    for (let pixel = 0; pixel < pixels; pixel++)
      result[pixel * classes + k] = data[k * pixels + pixel] ?? outOfBounds();
  }
  return result;
}

/** Collects the differences of one stage. */
export class Differences {
  readonly #limit: number;
  readonly #differing: string[] = [];
  #cases = 0;
  #max = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(name: string, found: ArrayLike<number>, expected: ArrayLike<number>): void {
    this.#cases++;
    const difference = maxDifference(found, expected);
    if (!(difference <= this.#max)) this.#max = difference;
    if (!(difference <= this.#limit)) this.#differing.push(name);
  }

  get result(): StageResult {
    const pass = this.#differing.length === 0;
    const differing = pass ? {} : { differing: this.#differing.slice(0, MAX_NAMED) };
    return { cases: this.#cases, maxAbsDiff: this.#max, limit: this.#limit, ...differing, pass };
  }
}

/** Collects the equality checks of one stage. */
export class Equalities {
  readonly #differing: string[] = [];
  #cases = 0;

  add(name: string, equal: boolean): void {
    this.#cases++;
    if (!equal) this.#differing.push(name);
  }

  get result(): StageResult {
    const exact = this.#differing.length === 0;
    const differing = exact ? {} : { differing: this.#differing.slice(0, MAX_NAMED) };
    return { cases: this.#cases, exact, ...differing, pass: exact };
  }
}
