// Exclusion of groups among async functions.

interface Waiting {
  readonly group: object;
  readonly start: () => void;
}

/**
 * Runs functions of different groups one at a time, in the order they arrive; those of one group may overlap while no other
 * group waits. One that fails does not hold up the next.
 */
export class GroupLock {
  readonly #waiting: Waiting[] = [];
  #group: object | undefined;
  #running = 0;

  /** Resolves or rejects as `work` does, which starts at once if it may. */
  async run<T>(group: object, work: () => Promise<T>): Promise<T> {
    if (this.#running > 0 && (group !== this.#group || this.#waiting.length > 0)) {
      await new Promise<void>((start) => this.#waiting.push({ group, start }));
    } else {
      this.#enter(group);
    }
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  #enter(group: object): void {
    this.#group = group;
    this.#running++;
  }

  /** Whoever is let in has entered before anyone else can come. */
  #leave(): void {
    this.#running--;
    for (let [next] = this.#waiting; next !== undefined; [next] = this.#waiting) {
      if (this.#running > 0 && next.group !== this.#group) return;
      this.#waiting.shift();
      this.#enter(next.group);
      next.start();
    }
  }
}
