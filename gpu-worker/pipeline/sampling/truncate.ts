// Truncation: keeps the most likely classes of a pixel's distribution, up to a total probability.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";

/**
 * The smallest probability that is kept, and how many of the classes that have it: enough to apply the cut without
 * sorting.
 */
interface Cut {
  /** Classes above this probability are kept. */
  readonly above: number;
  /** Of the classes at exactly this probability, in index order, this many are kept too. */
  readonly atThreshold: number;
}

/**
 * Marks in `kept` the classes of one pixel to keep: in order of decreasing probability (lower index first among ties), as
 * long as the preceding ones sum to less than `rate`, so that the class that crosses the rate is still kept, and always at
 * least one (diffusers' `truncate`; "truncation sampling" of arXiv 2111.14822, 3.3). `probabilities` must be finite and
 * sum to about one; 0 < rate < 1.
 */
export function truncatePixel(
  probabilities: Float64Array,
  rate: number,
  scratch: Float64Array,
  kept: Uint8Array,
): void {
  const { above, atThreshold } = findCut(probabilities, rate, scratch);
  let left = atThreshold;
  for (let i = 0; i < probabilities.length; i++) {
    const p = probabilities[i] ?? outOfBounds();
    if (p > above) kept[i] = 1;
    else kept[i] = p === above && left-- > 0 ? 1 : 0;
  }
}

/**
 * Quickselect by weight: partitions around a pivot and continues in the part where the sum crosses the rate, so the
 * expected cost is linear in the number of classes.
 */
function findCut(probabilities: Float64Array, rate: number, scratch: Float64Array): Cut {
  scratch.set(probabilities);
  let low = 0;
  let high = probabilities.length;
  let sum = 0;
  for (;;) {
    const pivot = medianOfThree(
      scratch[low] ?? outOfBounds(),
      scratch[(low + high) >> 1] ?? outOfBounds(),
      scratch[high - 1] ?? outOfBounds(),
    );
    // Three-way partition into > pivot, == pivot, < pivot.
    let larger = low;
    let i = low;
    let smaller = high;
    let largerSum = 0;
    while (i < smaller) {
      const value = scratch[i] ?? outOfBounds();
      if (value > pivot) {
        largerSum += value;
        scratch[i++] = scratch[larger] ?? outOfBounds();
        scratch[larger++] = value;
      } else if (value < pivot) {
        scratch[i] = scratch[--smaller] ?? outOfBounds();
        scratch[smaller] = value;
      } else {
        i++;
      }
    }
    if (larger > low && sum + largerSum >= rate) {
      high = larger;
      continue;
    }
    sum += largerSum;
    const equal = smaller - larger;
    // The j-th of the equal classes is kept if those before it sum to less than the rate.
    const crossing = pivot > 0 ? Math.ceil((rate - sum) / pivot) : equal;
    if (crossing <= equal || smaller === high)
      return { above: pivot, atThreshold: Math.max(1, Math.min(crossing, equal)) };
    sum += equal * pivot;
    low = smaller;
  }
}

function medianOfThree(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}
