// Truncation: of each pixel's distribution, keep the most likely classes up to a cumulated probability.

/**
 * The largest probability that is *not* kept, and how many classes equal to the smallest kept one are: enough to
 * apply the cut without sorting.
 */
interface Cut {
  /** Classes above this probability are kept. */
  readonly above: number;
  /** Of the classes at exactly this probability, in index order, this many are kept too. */
  readonly atThreshold: number;
}

/**
 * Marks in `kept` the classes of one pixel that stay: in order of falling probability (the lower index first among
 * ties), those before which less than `rate` has been summed up, so that the class that crosses the rate is still
 * kept, and at least one always is (diffusers' `truncate`; "truncation sampling" of arXiv 2111.14822, 3.3).
 * `probabilities` must be finite and sum to about one; 0 < rate < 1.
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
    const p = probabilities[i] ?? 0;
    if (p > above) kept[i] = 1;
    else kept[i] = p === above && left-- > 0 ? 1 : 0;
  }
}

/**
 * Quickselect by weight: splits around a pivot and goes on in the part where the sum crosses the rate, so the
 * expected cost is linear in the number of classes.
 */
function findCut(probabilities: Float64Array, rate: number, scratch: Float64Array): Cut {
  scratch.set(probabilities);
  let low = 0;
  let high = probabilities.length;
  let sum = 0;
  for (;;) {
    const pivot = medianOfThree(scratch[low] ?? 0, scratch[(low + high) >> 1] ?? 0, scratch[high - 1] ?? 0);
    // Three-way partition into > pivot, == pivot, < pivot.
    let larger = low;
    let i = low;
    let smaller = high;
    let largerSum = 0;
    while (i < smaller) {
      const value = scratch[i] ?? 0;
      if (value > pivot) {
        largerSum += value;
        scratch[i++] = scratch[larger] ?? 0;
        scratch[larger++] = value;
      } else if (value < pivot) {
        scratch[i] = scratch[--smaller] ?? 0;
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
    // Class j of the equal ones is kept if what comes before it sums to less than the rate.
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
