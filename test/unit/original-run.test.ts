// The passes of the original's sampler: how many at each timestep, and how many tokens each unmasks.

import { describe, expect, it } from "vitest";
import { MAX_LATENT_PIXELS, MAX_TIMESTEPS } from "../../shared/limits.ts";
import { originalRun } from "../../shared/sampling/original.ts";

const run = (inferSpeed: number, priorRule: 0 | 1 | 2 = 0, timesteps = 100, pixels = 1024) =>
  originalRun({ inferSpeed, priorRule }, { timesteps, pixels });
/** Tokens that each pass unmasks. */
const unmasked = ({ left = [] }: ReturnType<typeof run>, pixels = 1024): number[] =>
  left.map((count, i) => (left[i - 1] ?? pixels) - count);

describe("from speed 2 on", () => {
  it("leaves out timesteps, and ends at 0", () => {
    expect(run(2).timesteps).toHaveLength(51);
    expect(run(2).timesteps.slice(-3)).toEqual([3, 1, 0]);
    expect(run(10)).toEqual({
      timesteps: [99, 89, 79, 69, 59, 49, 39, 29, 19, 9, 0],
      skip: 9,
      left: undefined,
    });
    // The original rounds down.
    expect(run(3.9)).toEqual(run(3));
    expect(run(10, 0, 1).timesteps).toEqual([0]);
  });
});

describe("from speed 1 to 2", () => {
  it("makes one pass for each timestep", () => {
    expect(run(1.9)).toEqual({
      timesteps: Array.from({ length: 100 }, (_, i) => 99 - i),
      skip: 0,
      left: undefined,
    });
  });

  it("unmasks with a prior rule what the original's tables say", () => {
    expect(unmasked(run(1, 2)).slice(0, 5)).toEqual([11, 11, 10, 10, 11]);
    expect(run(1, 2).left?.slice(-2)).toEqual([0, 0]);
    expect(unmasked(run(1, 1, 25)).slice(0, 3)).toEqual([60, 41, 41]);
    // What its tables leave is drawn at timestep 0.
    expect(run(1, 1, 10).left?.slice(-2)).toEqual([69, 0]);
    expect(run(1, 1, 50).left?.at(-2)).toBe(10);
  });

  it("unmasks for other sizes what the schedule masks, and leaves out timesteps at which that is nothing", () => {
    const few = run(1, 1, 100, 64);
    expect(few.timesteps).toHaveLength(65);
    expect(unmasked(few, 64).slice(0, -1)).toEqual(new Array(64).fill(1));
  });
});

describe("below speed 1", () => {
  it("divides a timestep's tokens into passes of the original's size, a single one not by itself", () => {
    const half = run(0.5);
    expect(unmasked(half).slice(0, 6)).toEqual([5, 5, 5, 5, 6, 5]);
    expect(half.timesteps.slice(0, 6)).toEqual([99, 99, 99, 98, 98, 97]);
    expect(half.timesteps).toHaveLength(199);
    expect(run(0.5, 2)).toEqual(half);
    expect(run(0.5, 0, 25).timesteps).toHaveLength(50);
  });

  it("unmasks at least one token in each pass, whatever the size", () => {
    for (const [timesteps, pixels] of [
      [1, 1],
      [2, 1],
      [7, 36],
      [100, 64],
      [MAX_TIMESTEPS, MAX_LATENT_PIXELS],
    ] as const) {
      const slowest = run(0.1, 0, timesteps, pixels);
      expect(
        unmasked(slowest, pixels)
          .slice(0, -1)
          .every((count) => count > 0),
      ).toBe(true);
      expect(slowest.timesteps.at(-1)).toBe(0);
      expect(slowest.left?.at(-1)).toBe(0);
    }
  });
});
