// Halton order: pixels are unmasked in a fixed order in which neighbours are far apart.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { UnmaskingOrder } from "./order.ts";

/**
 * The Halton scheduler (arXiv 2503.17076): pixels unmasked in the same step are drawn independently, so they should depend
 * little on each other. A low-discrepancy sequence, the same for all images, spreads them evenly whatever the model predicts.
 */
export function haltonOrder(width: number, height: number): UnmaskingOrder {
  const ranks = haltonRanks(width, height);
  const rankOfPosition = (position: number): number => ranks[position] ?? outOfBounds();
  return {
    sharpening: 0,
    redrawsAtEnd: false,
    rankOfPosition,
    rank: ({ position }) => rankOfPosition(position),
  };
}

/**
 * The rank of each pixel [height x width, row-major], 0 to height x width - 1, in the order in which the Halton sequence
 * with bases 2 (down) and 3 (across) first reaches the pixels.
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

/** Which of `cells` equal parts of [0, 1) contains the i-th number of the van der Corput sequence with this base. */
function mirrored(i: number, base: number, cells: number): number {
  let [digits, size] = [0, 1];
  for (let left = i; left > 0; left = Math.floor(left / base)) {
    digits = digits * base + (left % base);
    size *= base;
  }
  // Integer arithmetic, so that rounding decides nothing.
  return Math.floor((digits * cells) / size);
}
