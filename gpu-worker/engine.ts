// Steps all running jobs together: each tick is one pass over the slots of every job, whatever step each is at.

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
}

/** Weight of the newest tick in the running mean of the step time. */
const STEP_TIME_WEIGHT = 0.1;

const isDone = (slot: EngineSlot): boolean => slot.stepIndex >= slot.timesteps.length;

export class Engine<Slot extends EngineSlot> {
  readonly #stepper: SlotStepper<Slot>;
  readonly #runs = new Set<Run<Slot>>();
  #ticking = false;
  #stepMs = 0;

  constructor(stepper: SlotStepper<Slot>) {
    this.#stepper = stepper;
  }

  get activeSlots(): number {
    return [...this.#runs].reduce((sum, run) => sum + run.slots.length, 0);
  }

  /** Running mean of a tick's duration in ms; 0 before the first. */
  get stepMs(): number {
    return this.#stepMs;
  }

  /**
   * Denoises the slots of one job to the end, beside those of the other jobs. `onStep` is called after each
   * step and must not block. Rejects with the signal's reason at the next step boundary when it aborts, and
   * with the error of a failing pass, which ends all jobs that were in it.
   */
  run(slots: readonly Slot[], signal: AbortSignal, onStep: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#runs.add({ slots, signal, onStep, resolve, reject });
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
    try {
      await this.#stepper.stepSlots(runs.flatMap((run) => run.slots.filter((slot) => !isDone(slot))));
    } catch (error) {
      for (const run of runs) this.#end(run, () => run.reject(error));
      return;
    }
    for (const run of runs) this.#report(run);
    const elapsedMs = performance.now() - startedAt;
    this.#stepMs =
      this.#stepMs === 0 ? elapsedMs : this.#stepMs + STEP_TIME_WEIGHT * (elapsedMs - this.#stepMs);
    this.#settle();
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
