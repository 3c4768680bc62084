// The time that a part may still take.

/** A part has ended before it was done, because its time was over. */
export class OutOfTimeError extends Error {
  override readonly name = "OutOfTimeError";
}

export class TimeLeft {
  readonly #endsAt: number;

  constructor(seconds: number) {
    this.#endsAt = performance.now() + 1_000 * seconds;
  }

  secondsLeft(): number {
    return Math.max(0, (this.#endsAt - performance.now()) / 1_000);
  }

  /** Seconds that are so much of what is left. */
  share(fraction: number): number {
    return fraction * this.secondsLeft();
  }
}
