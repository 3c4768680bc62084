// Lets jobs run side by side, and a job that may have killed its worker run alone.

interface Waiting {
  readonly isAlone: boolean;
  readonly enter: () => void;
}

/** Admits jobs in order of arrival: any that arrive after one waiting to be alone wait behind it. */
export class JobGate {
  readonly #queue: Waiting[] = [];
  #inside = 0;
  #isAlone = false;

  /** A job is running alone, or waiting to. */
  get isClosing(): boolean {
    return this.#isAlone || this.#queue.some(({ isAlone }) => isAlone);
  }

  /** Resolves once the caller may proceed, with a function to leave by. Rejects with the signal's reason if it aborts first. */
  async enter(isAlone: boolean, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting = { isAlone, enter: resolve };
    this.#queue.push(waiting);
    const onAbort = (): void => {
      const place = this.#queue.indexOf(waiting);
      if (place >= 0) this.#queue.splice(place, 1);
      reject(signal.reason as Error);
      this.#admit();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    this.#admit();
    try {
      await promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
    return () => {
      this.#inside--;
      this.#isAlone = false;
      this.#admit();
    };
  }

  #admit(): void {
    for (;;) {
      const [next] = this.#queue;
      if (next === undefined || this.#isAlone || (next.isAlone && this.#inside > 0)) return;
      this.#queue.shift();
      this.#inside++;
      this.#isAlone = next.isAlone;
      next.enter();
    }
  }
}
