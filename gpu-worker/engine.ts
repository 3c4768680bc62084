// Steps all running jobs together: each tick is one pass over slots of every job, whatever step each is at.

import { setImmediate as nextTurn } from "node:timers/promises";

/** One image being denoised; the engine only needs to know how far it is. */
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
  /** Slots that it was given beyond its first in a pass, since it came. */
  extras: number;
}

/** Weight of the newest tick in the running mean of the step time. */
const STEP_TIME_WEIGHT = 0.1;

/** Where a run is: all its slots are at this step, or, while a step takes several ticks, some are one ahead. */
const stepOf = (slots: readonly EngineSlot[]): number => Math.min(...slots.map((slot) => slot.stepIndex));

const isDone = (slot: EngineSlot): boolean => slot.stepIndex >= slot.timesteps.length;

export class Engine<Slot extends EngineSlot> {
  readonly #stepper: SlotStepper<Slot>;
  readonly #maxSlots: number;
  readonly #runs = new Set<Run<Slot>>();
  #ticking = false;
  #stepMs = 0;

  /**
   * `maxSlots` bounds a pass that several jobs share, and with it how long a job waits for the others; each of them has
   * at least one slot in it. A job that is alone is stepped whole.
   */
  constructor(stepper: SlotStepper<Slot>, maxSlots = Infinity) {
    this.#stepper = stepper;
    this.#maxSlots = maxSlots;
  }

  get activeSlots(): number {
    return [...this.#runs].reduce((sum, run) => sum + run.slots.length, 0);
  }

  /** Running mean of a tick's duration in ms; 0 before the first. */
  get stepMs(): number {
    return this.#stepMs;
  }

  /**
   * Denoises the slots of one job, all at the same step, to the end, beside those of the other jobs. `onStep` is called
   * each time that all of them have made a step, and must not block. Rejects with the signal's reason at the next step boundary when it aborts, and
   * with the error of a failing pass, which ends all jobs that were in it.
   */
  run(slots: readonly Slot[], signal: AbortSignal, onStep: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      // A newcomer has no claim to what was dealt before it came.
      const extras = this.#runs.size === 0 ? 0 : Math.min(...[...this.#runs].map((run) => run.extras));
      this.#runs.add({ slots, signal, onStep, resolve, reject, extras });
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
      // Lets timers and sockets in: leases, cancellations and new jobs between two passes.
      await nextTurn();
    }
    this.#ticking = false;
  }

  async #tick(runs: readonly Run<Slot>[]): Promise<void> {
    const startedAt = performance.now();
    const stepsBefore = new Map(runs.map((run) => [run, stepOf(run.slots)]));
    try {
      await this.#stepper.stepSlots(this.#share(runs));
    } catch (error) {
      for (const run of runs) this.#end(run, () => run.reject(error));
      return;
    }
    for (const run of runs) if (stepOf(run.slots) !== stepsBefore.get(run)) this.#report(run);
    const elapsedMs = performance.now() - startedAt;
    this.#stepMs =
      this.#stepMs === 0 ? elapsedMs : this.#stepMs + STEP_TIME_WEIGHT * (elapsedMs - this.#stepMs);
    this.#settle();
  }

  /**
   * The slots of the next pass: of each job those that its present step is still missing, dealt out one job after the
   * other. So a job of many images takes what the others leave, and never their turn.
   */
  #share(runs: readonly Run<Slot>[]): Slot[] {
    const waiting = runs.map(({ slots }) => {
      const step = stepOf(slots);
      return slots.filter((slot) => slot.stepIndex === step);
    });
    const limit = runs.length === 1 ? Infinity : Math.max(this.#maxSlots, runs.length);
    const dealt = waiting.map(() => 0);
    let total = 0;
    for (let round = 0; total < limit; round++) {
      const open = [...runs.keys()].filter((index) => (waiting[index]?.length ?? 0) > round);
      if (open.length === 0) break;
      // What is left over goes to those that had least of it.
      const extras = (index: number): number => runs[index]?.extras ?? 0;
      for (const index of open.toSorted((a, b) => extras(a) - extras(b)).slice(0, limit - total)) {
        dealt[index] = round + 1;
        total++;
      }
    }
    for (const [index, run] of runs.entries()) run.extras += Math.max(0, (dealt[index] ?? 0) - 1);
    return waiting.flatMap((slots, index) => slots.slice(0, dealt[index]));
  }

  #report(run: Run<Slot>): void {
    try {
      run.onStep();
    } catch (error) {
      this.#end(run, () => run.reject(error));
    }
  }

  /** Takes out the jobs that are finished or aborted. */
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
