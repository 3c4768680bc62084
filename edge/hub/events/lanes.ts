// Messages of one prediction take effect one after the other; those of different ones do not wait for each other.

/** Puts into object storage at once: at 100 ms each, some 300 a second. */
const MAX_PUTS = 32;
/** Puts that end within so many ms take effect together: what they change is written to disk at once. */
const TOGETHER_MS = 10;
/** Bytes of messages that wait for puts. An object has 128 MB of memory. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;

export class Lanes {
  readonly #tails = new Map<string, Promise<void>>();
  #bytes = 0;
  #puts = 0;
  /** Resolves when puts that have ended take effect. */
  #together: Promise<void> | undefined;
  /** Called when a put has ended. */
  readonly #next: (() => void)[] = [];
  /** Called when fewer bytes wait. */
  #hasRoom = (): void => {};

  /**
   * Runs `work` when all earlier work of the prediction is done: at once, up to its first await, if there is none. If it rejects, so
   * does what follows it by then, without having been run.
   */
  run(id: string, bytes: number, work: () => Promise<void>): Promise<void> {
    this.#bytes += bytes;
    const tail = this.#tails.get(id);
    const done = (tail === undefined ? work() : tail.then(work)).finally(() => {
      this.#bytes -= bytes;
      if (this.#tails.get(id) === done) this.#tails.delete(id);
      if (this.#bytes <= MAX_WAITING_BYTES) this.#hasRoom();
    });
    this.#tails.set(id, done);
    return done;
  }

  /** Resolves when there is room for another message. For one caller at a time. */
  room(): Promise<void> | undefined {
    if (this.#bytes <= MAX_WAITING_BYTES) return undefined;
    return new Promise((resolve) => (this.#hasRoom = resolve));
  }

  /** Runs a put, once there are fewer than the most that may run. */
  async put<T>(work: () => Promise<T>): Promise<T> {
    if (this.#puts >= MAX_PUTS) await new Promise<void>((resolve) => this.#next.push(resolve));
    else this.#puts++;
    try {
      return await work();
    } finally {
      // Its place goes to the next.
      const next = this.#next.shift();
      if (next === undefined) this.#puts--;
      else next();
      // Alone, it has nothing to wait for.
      if (this.#puts > 0) await this.#beat();
    }
  }

  #beat(): Promise<void> {
    this.#together ??= new Promise((resolve) => {
      setTimeout(() => {
        this.#together = undefined;
        resolve();
      }, TOGETHER_MS);
    });
    return this.#together;
  }
}
