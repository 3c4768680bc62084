// Notices native calls that do not return: a hung driver or kernel would hold its jobs forever.

/** A call counts as hung when it takes this many times as long as the slowest earlier call of its kind. */
const STALL_FACTOR = 10;
/** Nothing is known about the first call of its kind, which also warms up the runtime. */
const FIRST_CALL_FACTOR = 6;

/** A call is compared with others of its kind. */
export type CallKind = "encode" | "pass" | "decode" | "encode image";

export interface Stall {
  readonly kind: CallKind;
  readonly seconds: number;
}

interface Call {
  readonly kind: CallKind;
  readonly rows: number;
  readonly startedAt: number;
}

export class StallWatch {
  readonly #leastMs: number;
  readonly #calls = new Set<Call>();
  readonly #slowestMsPerRow = new Map<CallKind, number>();

  /** No call counts as hung before it has run for `leastMs`. */
  constructor(leastMs: number) {
    this.#leastMs = leastMs;
  }

  /** Runs and watches `work`, which processes `rows` rows of a batch. */
  async run<T>(kind: CallKind, rows: number, work: () => Promise<T>): Promise<T> {
    const call = { kind, rows: Math.max(1, rows), startedAt: performance.now() };
    this.#calls.add(call);
    try {
      const result = await work();
      const msPerRow = (performance.now() - call.startedAt) / call.rows;
      this.#slowestMsPerRow.set(kind, Math.max(msPerRow, this.#slowestMsPerRow.get(kind) ?? 0));
      return result;
    } finally {
      this.#calls.delete(call);
    }
  }

  /** A call that is hung at `now`, on the clock of `performance.now()`. */
  stalled(now = performance.now()): Stall | undefined {
    for (const call of this.#calls) {
      const ms = now - call.startedAt;
      if (ms > this.#limitMs(call)) return { kind: call.kind, seconds: ms / 1_000 };
    }
    return undefined;
  }

  /** The longest that a pass of one row has taken, in ms; 0 while nothing is known. */
  get slowestPassMs(): number {
    return this.#slowestMsPerRow.get("pass") ?? 0;
  }

  #limitMs({ kind, rows }: Call): number {
    const slowest = this.#slowestMsPerRow.get(kind);
    if (slowest === undefined) return FIRST_CALL_FACTOR * this.#leastMs;
    return Math.max(this.#leastMs, STALL_FACTOR * slowest * rows);
  }
}
