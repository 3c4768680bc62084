// The random numbers: Philox against its published vectors, and noise that depends on its place alone.

/* oxlint-disable unicorn/no-array-fill-with-reference-type -- StepNoise.fill is not Array.fill: it writes into its argument. */

import { describe, expect, it } from "vitest";
import { philox4x32, StepNoise } from "../../gpu-worker/pipeline/sampling/random.ts";

// kat_vectors of Random123 1.14.0, philox4x32 with 10 rounds: counter, key, result.
const KNOWN_ANSWERS: readonly [Words4, [number, number], string][] = [
  [[0, 0, 0, 0], [0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    "408f276d 41c83b0e a20bc7c6 6d5451fd",
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    "d16cfe09 94fdcceb 5001e420 24126ea1",
  ],
];
type Words4 = [number, number, number, number];

it.each(KNOWN_ANSWERS)("turns counter %j under key %j into its published words", (counter, key, expected) => {
  const words = new Uint32Array(4);
  philox4x32(words, ...counter, ...key);
  expect([...words].map((word) => word.toString(16).padStart(8, "0")).join(" ")).toBe(expected);
});

describe("the noise of a step", () => {
  const CLASSES = 1025;
  const fill = (seed: number | bigint, image: number, t: number, position: number): Float64Array => {
    const out = new Float64Array(CLASSES);
    new StepNoise(seed, image, t).fill(out, position);
    return out;
  };

  it("is strictly between 0 and 1, and uniform", () => {
    const bins = new Uint32Array(16);
    let count = 0;
    for (let position = 0; position < 256; position++) {
      for (const u of fill(7, 0, 50, position)) {
        if (!(u > 0 && u < 1)) expect.fail(`${u} is not inside (0, 1)`);
        const bin = Math.floor(u * bins.length);
        bins[bin] = (bins[bin] ?? 0) + 1;
        count++;
      }
    }
    const expected = count / bins.length;
    const chiSquare = bins.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
    // 15 degrees of freedom: above 37.7 in one of 1,000 seeds, and this seed is fixed.
    expect(chiSquare).toBeLessThan(37.7);
  });

  it("has the seed's 64 bits as its key, the lower half first", () => {
    const out = new Uint32Array(4);
    philox4x32(out, 0, 5, 50, 2, 0x89abcdef, 0x01234567);
    const [first = 0] = out;
    const noise = new Float64Array(CLASSES);
    new StepNoise(0x01234567_89abcdefn, 2, 50).fill(noise, 5);
    expect(noise[0]).toBe((first + 0.5) / 2 ** 32);
    expect(fill(2 ** 40 + 3, 2, 50, 5)).toEqual(fill(2n ** 40n + 3n, 2, 50, 5));
  });

  it("does not depend on which positions were asked for before", () => {
    const noise = new StepNoise(7, 2, 50);
    const out = new Float64Array(CLASSES);
    const backwards = [3, 2, 1, 0].map((position) => {
      noise.fill(out, position);
      return out.slice();
    });
    expect(backwards.toReversed()).toEqual([0, 1, 2, 3].map((position) => fill(7, 2, 50, position)));
  });

  it("gives each class the same number whether the mask is drawn from too or not", () => {
    const short = new Float64Array(CLASSES - 1);
    new StepNoise(7, 0, 1).fill(short, 5);
    expect(short).toEqual(fill(7, 0, 1, 5).subarray(0, CLASSES - 1));
  });

  it("gives each pass at a timestep numbers of its own, the first those of the timestep", () => {
    const first = new StepNoise(7, 0, 50);
    const passes = [0, 1, 2].map((pass) => new StepNoise(7, 0, 50, pass));
    expect(passes.map((noise) => noise.ofPosition(3))[0]).toBe(first.ofPosition(3));
    expect(new Set(passes.map((noise) => noise.ofDraw(3).choice)).size).toBe(3);
  });

  it("differs by seed, all 53 bits of it, image, timestep and position", () => {
    const places = [
      fill(7, 0, 50, 0),
      fill(8, 0, 50, 0),
      fill(7 + 2 ** 32, 0, 50, 0),
      fill(7 + 2 ** 52, 0, 50, 0),
      fill(7, 1, 50, 0),
      fill(7, 0, 51, 0),
      fill(7, 0, 50, 1),
    ];
    expect(new Set(places.map((place) => place.join())).size).toBe(places.length);
  });
});
