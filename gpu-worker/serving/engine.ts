// Steps all running jobs together: each tick is one pass over slots of every job, whatever step each is at.

import { setImmediate as nextTurn } from "node:timers/promises";

/** One image being denoised; the engine only needs to know its progress. */
export interface EngineSlot {
  /** Steps done so far. */
  readonly stepIndex: number;
  /** Timesteps of the whole run, first to last. */
  readonly timesteps: ArrayLike<number>;
}

/** Advances each slot by one step, in place. */
export interface SlotStepper<Slot extends EngineSlot> {
  stepSlots(slots: readonly Slot[]): Promise<void>;
}

interface Run<Slot> {
  readonly slots: readonly Slot[];
  readonly signal: AbortSignal;
  readonly onStep: () => void;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
  /** Since the run arrived: passes that it took part in, and slots that it got in them beyond its first. */
  turns: number;
  extras: number;
}

export interface EngineOptions<Slot> {
  /**
   * Bounds a pass that several jobs share, and with it how long a job waits for the others; each of them gets at least
   * one slot in it. A job that runs alone is stepped as a whole. [Infinity]
   */
  readonly maxSlots?: number;
  /** Bounds every pass by what fits into memory, in rows of the transformer's batch; one slot is always allowed. [Infinity] */
  readonly maxRows?: number;
  /** Rows that a slot takes: two with guidance. [1] */
  readonly rowsOf?: (slot: Slot) => number;
  /** Called when a pass has failed and is retried in parts. */
  readonly onSplit?: (error: unknown, slots: number) => void;
}

/** The slots that each job has in a pass. */
type Pass<Slot> = ReadonlyMap<Run<Slot>, readonly Slot[]>;

/** After so many passes in a row, one that failed for want of memory is tried at twice the size. */
const PASSES_UNTIL_LARGER = 100;

/** Weight of the latest tick in the running mean of the step time. */
const STEP_TIME_WEIGHT = 0.1;

/** A run's progress: all its slots are at this step or, while a step takes several ticks, some are one ahead. */
const stepOf = (slots: readonly EngineSlot[]): number => Math.min(...slots.map((slot) => slot.stepIndex));

const isDone = (slot: EngineSlot): boolean => slot.stepIndex >= slot.timesteps.length;

export class Engine<Slot extends EngineSlot> {
  readonly #stepper: SlotStepper<Slot>;
  readonly #options: EngineOptions<Slot>;
  readonly #runs = new Set<Run<Slot>>();
  #maxRows: number;
  #passesUntilLarger = 0;
  #ticking = false;
  #stepMs = 0;

  constructor(stepper: SlotStepper<Slot>, options: EngineOptions<Slot> = {}) {
    this.#stepper = stepper;
    this.#options = options;
    this.#maxRows = options.maxRows ?? Infinity;
  }

  /** Running mean of a tick's duration in ms; 0 before the first. */
  get stepMs(): number {
    return this.#stepMs;
  }

  /**
   * Denoises the slots of one job, all at the same step, to the end, alongside those of other jobs. `onStep` is called
   * whenever all of them have completed a step, and must not block. Rejects with the signal's reason at the next step
   * boundary when it aborts, and with the error of a pass that fails because of this job.
   */
  run(slots: readonly Slot[], signal: AbortSignal, onStep: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      // A new run has no claim to what was dealt out before it arrived.
      const least = (of: "turns" | "extras"): number =>
        this.#runs.size === 0 ? 0 : Math.min(...[...this.#runs].map((run) => run[of]));
      this.#runs.add({
        slots,
        signal,
        onStep,
        resolve,
        reject,
        turns: least("turns"),
        extras: least("extras"),
      });
      void this.#tickWhileNeeded();
    });
  }

  async #tickWhileNeeded(): Promise<void> {
    if (this.#ticking) return;
    this.#ticking = true;
    while (this.#runs.size > 0) {
      this.#settle();
      const runs = [...this.#runs];
      if (runs.length === 0) break;
      await this.#tick(runs);
      // Lets timers and sockets run between passes: leases, cancellations and new jobs.
      await nextTurn();
    }
    this.#ticking = false;
  }

  async #tick(runs: readonly Run<Slot>[]): Promise<void> {
    const startedAt = performance.now();
    const stepsBefore = new Map(runs.map((run) => [run, stepOf(run.slots)]));
    const pass = this.#share(runs);
    try {
      await this.#stepper.stepSlots([...pass.values()].flat());
      this.#recover();
    } catch (error) {
      await this.#stepSeparately(pass, error);
    }
    for (const run of runs) if (stepOf(run.slots) !== stepsBefore.get(run)) this.#report(run);
    const elapsedMs = performance.now() - startedAt;
    this.#stepMs =
      this.#stepMs === 0 ? elapsedMs : this.#stepMs + STEP_TIME_WEIGHT * (elapsedMs - this.#stepMs);
    this.#settle();
  }

  /**
   * Handles a pass that has failed, leaving its slots as they were: each slot is stepped alone, so that one job's error
   * does not affect the others, and a pass that was too large for the memory is made in parts, now and in the future.
   */
  async #stepSeparately(pass: Pass<Slot>, error: unknown): Promise<void> {
    const slots = [...pass.values()].flat();
    const [only] = pass.keys();
    if (slots.length === 1 && only !== undefined) {
      this.#end(only, () => only.reject(error));
      return;
    }
    this.#options.onSplit?.(error, slots.length);
    let hasFailed = false;
    for (const [run, own] of pass) {
      try {
        for (const slot of own) await this.#stepper.stepSlots([slot]);
      } catch (reason) {
        hasFailed = true;
        this.#end(run, () => run.reject(reason));
      }
    }
    // No job is to blame: there were too many rows.
    if (!hasFailed) {
      this.#maxRows = Math.max(1, Math.floor(this.#rows(slots) / 2));
      this.#passesUntilLarger = PASSES_UNTIL_LARGER;
    }
  }

  /** Memory may have been short for a moment only: after a while, passes may be twice as large again. */
  #recover(): void {
    const { maxRows = Infinity } = this.#options;
    if (this.#maxRows >= maxRows || --this.#passesUntilLarger > 0) return;
    this.#maxRows = Math.min(maxRows, 2 * this.#maxRows);
    this.#passesUntilLarger = PASSES_UNTIL_LARGER;
  }

  #rows(slots: readonly Slot[]): number {
    const { rowsOf = () => 1 } = this.#options;
    return slots.reduce((sum, slot) => sum + rowsOf(slot), 0);
  }

  /**
   * The slots of the next pass: for each job, those that still have to make its current step, dealt out round robin. So
   * a job of many images takes what the others leave, and never their turn.
   */
  #share(runs: readonly Run<Slot>[]): Pass<Slot> {
    const { maxSlots = Infinity } = this.#options;
    const waiting = new Map(
      runs.map((run) => {
        const step = stepOf(run.slots);
        return [run, run.slots.filter((slot) => slot.stepIndex === step)];
      }),
    );
    const dealt = new Map<Run<Slot>, Slot[]>();
    let slotsLeft = runs.length === 1 ? Infinity : Math.max(maxSlots, runs.length);
    let rowsLeft = this.#maxRows;
    for (let round = 0; slotsLeft > 0 && rowsLeft > 0; round++) {
      const open = runs.filter((run) => (waiting.get(run)?.length ?? 0) > round);
      if (open.length === 0) break;
      // What does not suffice for all goes to those that have had the least.
      const had = round === 0 ? "turns" : "extras";
      for (const run of open.toSorted((a, b) => a[had] - b[had])) {
        const slot = waiting.get(run)?.[round];
        if (slot === undefined || slotsLeft === 0) continue;
        const rows = this.#rows([slot]);
        if (rows > rowsLeft && dealt.size > 0) {
          rowsLeft = 0;
          break;
        }
        dealt.set(run, [...(dealt.get(run) ?? []), slot]);
        run[had]++;
        slotsLeft--;
        rowsLeft -= rows;
      }
    }
    return dealt;
  }

  #report(run: Run<Slot>): void {
    try {
      run.onStep();
    } catch (error) {
      this.#end(run, () => run.reject(error));
    }
  }

  /** Removes the jobs that are finished or aborted. */
  #settle(): void {
    for (const run of this.#runs) {
      if (run.slots.every(isDone)) this.#end(run, run.resolve);
      else if (run.signal.aborted) this.#end(run, () => run.reject(run.signal.reason));
    }
  }

  #end(run: Run<Slot>, settle: () => void): void {
    this.#runs.delete(run);
    settle();
  }
}
