// Seeded random numbers for benches: the same seed gives the same load.

import { philox4x32 } from "../../gpu-worker/pipeline/sampling/random.ts";

export class Random {
  readonly #seed: number;
  readonly #words = new Uint32Array(4);
  #drawn = 0;

  /** `seed`: 0 to 2^32 - 1. */
  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Above 0 and below 1. */
  uniform(): number {
    const place = this.#drawn % 4;
    const block = Math.floor(this.#drawn / 4);
    if (place === 0) philox4x32(this.#words, block | 0, Math.floor(block / 2 ** 32), 0, 0, this.#seed | 0, 0);
    this.#drawn++;
    return ((this.#words[place] ?? 0) + 0.5) / 2 ** 32;
  }

  /** From an exponential distribution: the time between two arrivals of a Poisson stream. */
  exponential(mean: number): number {
    return -mean * Math.log(this.uniform());
  }

  /** 0 to `count` - 1. */
  below(count: number): number {
    return Math.floor(this.uniform() * count);
  }

  /** A copy in random order. */
  shuffled<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let last = result.length - 1; last > 0; last--) {
      const other = this.below(last + 1);
      [result[last], result[other]] = [result[other] as T, result[last] as T];
    }
    return result;
  }
}
