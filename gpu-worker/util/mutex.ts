// Mutual exclusion among async functions.

/** Runs functions one at a time, in the order they arrive; one that fails does not hold up the next. */
export class Mutex {
  #tail: Promise<unknown> = Promise.resolve();

  /** Resolves or rejects as `work` does. */
  runExclusive<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#tail.then(work);
    this.#tail = run.catch(() => {});
    return run;
  }
}
