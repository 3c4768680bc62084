// For reads by index that are always within bounds.

/**
 * `values[i] ?? outOfBounds()` is a number to the type checker, and an error at run time if the index was wrong after
 * all, where a default would turn the mistake into a plausible number. It is spelled out at each read because a shared
 * accessor, called with arrays of many types, is some twenty times slower in the sampler's loops.
 */
export function outOfBounds(): never {
  throw new RangeError("an array was read out of bounds");
}
