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
  /** Whether a device may have to prepare for it. */
  readonly isNew: boolean;
  readonly startedAt: number;
}

export interface StallWatchOptions {
  /**
   * Whether the first call of each shape may take far longer than later ones [false]: a GPU's shaders are compiled, or its kernels
   * chosen, when they are first needed.
   */
  readonly preparesShapes?: boolean;
}

export class StallWatch {
  readonly #leastMs: number;
  readonly #preparesShapes: boolean;
  readonly #shapes = new Set<string>();
  readonly #calls = new Set<Call>();
  readonly #slowestMsPerRow = new Map<CallKind, number>();

  /** No call counts as hung before it has run for `leastMs`. */
  constructor(leastMs: number, { preparesShapes = false }: StallWatchOptions = {}) {
    this.#leastMs = leastMs;
    this.#preparesShapes = preparesShapes;
  }

  /** Runs and watches `work`, which processes `rows` rows of a batch. Calls of one shape take the same kernels [`rows`]. */
  async run<T>(kind: CallKind, rows: number, work: () => Promise<T>, shape = `${rows}`): Promise<T> {
    const isNew = this.#preparesShapes && !this.#shapes.has(`${kind} ${shape}`);
    const call = { kind, rows: Math.max(1, rows), isNew, startedAt: performance.now() };
    this.#calls.add(call);
    try {
      const result = await work();
      this.#shapes.add(`${kind} ${shape}`);
      const msPerRow = (performance.now() - call.startedAt) / call.rows;
      // Later calls are not compared with one that had to wait for a compiler.
      if (!isNew) this.#slowestMsPerRow.set(kind, Math.max(msPerRow, this.#slowestMsPerRow.get(kind) ?? 0));
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

  #limitMs({ kind, rows, isNew }: Call): number {
    const slowest = this.#slowestMsPerRow.get(kind);
    const leastMs = slowest === undefined || isNew ? FIRST_CALL_FACTOR * this.#leastMs : this.#leastMs;
    return Math.max(leastMs, STALL_FACTOR * (slowest ?? 0) * rows);
  }
}
