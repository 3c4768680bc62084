// Halton order: pixels are unmasked in a fixed order in which neighbours come long after each other.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { UnmaskingOrder } from "./unmasking.ts";

/**
 * The Halton scheduler (arXiv 2503.17076): pixels unmasked in one step are drawn independently of each other, so they should
 * say little of each other. A low-discrepancy sequence spreads them evenly, whatever the model thinks; the same one for
 * all images.
 */
export function haltonOrder(width: number, height: number): UnmaskingOrder {
  const ranks = haltonRanks(width, height);
  const rankOfPosition = (position: number): number => ranks[position] ?? outOfBounds();
  return {
    sharpening: 0,
    drawsAnew: false,
    rankOfPosition,
    rank: ({ position }) => rankOfPosition(position),
  };
}

/**
 * The place of each pixel [height x width, row-major] in the order in which the Halton sequence of bases 2 (down) and 3
 * (across) comes upon the pixels for the first time: 0 to height x width - 1.
 */
export function haltonRanks(width: number, height: number): Uint32Array {
  const ranks = new Uint32Array(width * height);
  const seen = new Set<number>();
  for (let i = 1; seen.size < ranks.length; i++) {
    const position = mirrored(i, 2, height) * width + mirrored(i, 3, width);
    if (seen.has(position)) continue;
    ranks[position] = seen.size;
    seen.add(position);
  }
  return ranks;
}

/** Where the i-th number of the van der Corput sequence of a base falls among `cells` equal parts of 0 to 1. */
function mirrored(i: number, base: number, cells: number): number {
  let [digits, size] = [0, 1];
  for (let left = i; left > 0; left = Math.floor(left / base)) {
    digits = digits * base + (left % base);
    size *= base;
  }
  // Of integers, so that no rounding decides.
  return Math.floor((digits * cells) / size);
}
