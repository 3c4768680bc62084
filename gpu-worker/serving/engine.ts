// Steps all running jobs together: a pass is made over slots of every job, whatever step each is at.

import { setImmediate as nextTurn } from "node:timers/promises";
import { OwnerShares, unknownOwner } from "./owner-shares.ts";

/** One image being denoised; the engine only needs to know its progress. */
export interface EngineSlot {
  /** Steps done so far. */
  readonly stepIndex: number;
  /** Timesteps of the whole run, first to last. */
  readonly timesteps: ArrayLike<number>;
}

/** Makes steps, of which the second may be begun before the first is finished. */
export interface SlotStepper<Slot extends EngineSlot> {
  /**
   * Computes the next step of each slot. Resolves to a function that then moves the slots, in place; until it is called, and if
   * this rejects, they are unchanged.
   */
  beginStep(slots: readonly Slot[]): Promise<() => void>;
}

interface Run<Slot> {
  readonly slots: readonly Slot[];
  /** Whose it is: the same value for all runs of an owner. */
  readonly owner: unknown;
  readonly signal: AbortSignal;
  readonly onStep: () => void;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
  /** Since the run arrived: passes that it took part in, and slots that it got in them beyond its first. */
  turns: number;
  extras: number;
  /** Settles the run as soon as none of its slots is in a pass; until then it gets no further ones. */
  end: (() => void) | undefined;
}

export interface EngineOptions<Slot> {
  /**
   * Bounds a pass that several jobs share, and with it how long a job waits for the others; each of them gets at least
   * one slot in it. A job that runs alone is stepped as a whole. Ignored with `evenly`. [Infinity]
   */
  readonly maxSlots?: number;
  /** Bounds every pass by what fits into memory, in rows of the transformer's batch; one slot is always allowed. [Infinity] */
  readonly maxRows?: number;
  /**
   * With 2, slots that do not all fit into a pass are stepped as two groups in turn: a pass of the one is prepared, reported and
   * queued while the device computes the other's, and so the device waits for neither. [1]
   */
  readonly groups?: 1 | 2;
  /**
   * Whether owners have equal shares over time, rather than each job a slot of a pass and then what is left, and passes are short. For
   * devices on which each row takes time of its own (owner-shares.ts). [false]
   */
  readonly evenly?: boolean;
  /** Rows that a slot takes: two with guidance. [1] */
  readonly rowsOf?: (slot: Slot) => number;
  /** Called when a pass has failed and is retried in parts. */
  readonly onSplit?: (error: unknown, slots: number) => void;
}

/** The slots that each job has in a pass. */
type Dealt<Slot> = ReadonlyMap<Run<Slot>, readonly Slot[]>;

/** A pass that has begun. */
interface Pass<Slot> {
  readonly dealt: Dealt<Slot>;
  readonly moving: Promise<() => void>;
  readonly startedAt: number;
}

/** After so many passes in a row, one that failed for want of memory is tried at twice the size. */
const PASSES_UNTIL_LARGER = 100;

/** Weight of the latest pass in the running mean of the step time. */
const STEP_TIME_WEIGHT = 0.1;

/** A run's progress: all its slots are at this step or, while a step takes several passes, some are one ahead. */
const stepOf = (slots: readonly EngineSlot[]): number => Math.min(...slots.map((slot) => slot.stepIndex));

const runningMean = (mean: number, value: number): number =>
  mean === 0 ? value : mean + STEP_TIME_WEIGHT * (value - mean);

const isDone = (slot: EngineSlot): boolean => slot.stepIndex >= slot.timesteps.length;

export class Engine<Slot extends EngineSlot> {
  readonly #stepper: SlotStepper<Slot>;
  readonly #options: EngineOptions<Slot>;
  readonly #runs = new Set<Run<Slot>>();
  /** Passes that have begun, in the order in which they end. */
  readonly #passes: Pass<Slot>[] = [];
  /** The slots in them. */
  readonly #busy = new Set<Slot>();
  #maxRows: number;
  #passesUntilLarger = 0;
  #isServing = false;
  #stepMs = 0;
  /** Running mean of a pass's duration for each of its slots. */
  #slotMs = 0;
  readonly #shares = new OwnerShares();
  #endedAt = -Infinity;

  constructor(stepper: SlotStepper<Slot>, options: EngineOptions<Slot> = {}) {
    this.#stepper = stepper;
    this.#options = options;
    this.#maxRows = options.maxRows ?? Infinity;
  }

  /** Running mean of a pass's duration in ms, without its wait for the one before; 0 before the first. */
  get stepMs(): number {
    return this.#stepMs;
  }

  /**
   * Denoises the slots of one job, all at the same step, to the end, alongside those of other jobs. `onStep` is called
   * whenever all of them have completed a step, and must not block. Rejects with the signal's reason at the next step
   * boundary when it aborts, and with the error of a pass that fails because of this job. Jobs without a tag are each of an
   * owner of its own.
   */
  run(slots: readonly Slot[], signal: AbortSignal, onStep: () => void, ownerTag?: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const owner = ownerTag ?? unknownOwner();
      const others = [...this.#runs];
      const isEven = this.#options.evenly === true;
      const peers = isEven ? others.filter((run) => run.owner === owner) : others;
      // A new run has no claim to what was dealt out before it arrived, to those that it takes turns with.
      const least = (of: "turns" | "extras"): number =>
        peers.length === 0 ? 0 : Math.min(...peers.map((run) => run[of]));
      if (isEven && peers.length === 0) {
        this.#shares.welcome(owner, new Set(others.map((run) => run.owner)), this.#slotMs);
      }
      this.#runs.add({
        slots,
        owner,
        signal,
        onStep,
        resolve,
        reject,
        turns: least("turns"),
        extras: least("extras"),
        end: undefined,
      });
      void this.#serve();
    });
  }

  async #serve(): Promise<void> {
    if (this.#isServing) return;
    this.#isServing = true;
    while (this.#runs.size > 0) {
      this.#settle();
      if (this.#begin()) continue;
      const pass = this.#passes.shift();
      if (pass === undefined) continue;
      await this.#finish(pass);
      this.#settle();
      // Lets timers and sockets run between passes: leases, cancellations and new jobs.
      await nextTurn();
    }
    this.#isServing = false;
  }

  /** Begins a pass, unless there are no slots for one, or there is no group left for them. */
  #begin(): boolean {
    const runs = [...this.#runs].filter(({ end }) => end === undefined);
    const left = runs.flatMap((run) => run.slots).filter((slot) => !isDone(slot)).length;
    const { maxSlots = Infinity } = this.#options;
    // Half of what fits into a pass takes a device more than half of the time, or maxSlots would be smaller.
    const groups = left > maxSlots ? (this.#options.groups ?? 1) : 1;
    if (this.#passes.length >= groups) return false;
    const most = this.#most(runs.length, groups);
    const dealt = this.#deal(runs, Math.min(most, Math.ceil(left / groups)));
    if (dealt.size === 0) return false;
    const slots = [...dealt.values()].flat();
    for (const slot of slots) this.#busy.add(slot);
    const moving = this.#stepper.beginStep(slots);
    // It may fail before the pass before it has ended; the error is handled in its turn.
    moving.catch(() => {});
    this.#passes.push({ dealt, moving, startedAt: performance.now() });
    return true;
  }

  #most(runs: number, groups: number): number {
    const { maxSlots = Infinity, evenly = false } = this.#options;
    if (evenly) return OwnerShares.slotsOfPass(this.#slotMs);
    return runs === 1 ? Infinity : Math.max(maxSlots, Math.ceil(runs / groups));
  }

  async #finish({ dealt, moving, startedAt }: Pass<Slot>): Promise<void> {
    const runs = [...this.#runs].filter((run) => dealt.has(run));
    const stepsBefore = new Map(runs.map((run) => [run, stepOf(run.slots)]));
    try {
      (await moving)();
      this.#recover();
    } catch (error) {
      await this.#stepSeparately(dealt, error);
    }
    for (const slot of [...dealt.values()].flat()) this.#busy.delete(slot);
    for (const run of runs) {
      if (run.end === undefined && stepOf(run.slots) !== stepsBefore.get(run)) this.#report(run);
    }
    const endedAt = performance.now();
    const elapsedMs = endedAt - Math.max(startedAt, this.#endedAt);
    this.#endedAt = endedAt;
    const slots = [...dealt.values()].reduce((sum, own) => sum + own.length, 0);
    this.#stepMs = runningMean(this.#stepMs, elapsedMs);
    this.#slotMs = runningMean(this.#slotMs, elapsedMs / slots);
  }

  /**
   * Handles a pass that has failed, leaving its slots as they were: each slot is stepped alone, so that one job's error
   * does not affect the others, and a pass that was too large for the memory is made in parts, now and in the future.
   */
  async #stepSeparately(dealt: Dealt<Slot>, error: unknown): Promise<void> {
    const slots = [...dealt.values()].flat();
    const [only] = dealt.keys();
    if (slots.length === 1 && only !== undefined) {
      this.#end(only, () => only.reject(error));
      return;
    }
    this.#options.onSplit?.(error, slots.length);
    let hasFailed = false;
    for (const [run, own] of dealt) {
      try {
        for (const slot of own) (await this.#stepper.beginStep([slot]))();
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

  /** The slots of the next pass, at most `most`. */
  #deal(runs: readonly Run<Slot>[], most: number): Dealt<Slot> {
    if (this.#options.evenly !== true) return this.#share(runs, most, this.#maxRows);
    const ready = runs.filter((run) => this.#waiting(run).length > 0);
    const behind = this.#shares.next(new Set(ready.map(({ owner }) => owner)));
    // With fewer than two rows each, not every slot would fit: then one after another.
    const owners = this.#maxRows < 2 * behind.length ? behind.slice(0, 1) : behind;
    const runsOf = owners.map((owner) => ready.filter((run) => run.owner === owner));
    const each = Math.min(
      Math.max(1, Math.floor(most / owners.length)),
      ...runsOf.map((own) => own.flatMap((run) => this.#waiting(run)).length),
    );
    const dealt = new Map<Run<Slot>, readonly Slot[]>();
    for (const own of runsOf) {
      for (const [run, slots] of this.#share(own, each, Math.floor(this.#maxRows / owners.length))) {
        dealt.set(run, slots);
        this.#shares.charge(run.owner, slots.length);
      }
    }
    return dealt;
  }

  /**
   * Slots for a pass, at most `most` of at most `maxRows` rows: for each job, those that still have to make its current step, dealt
   * out round robin. So a job of many images takes what the others leave, and never their turn.
   */
  #share(runs: readonly Run<Slot>[], most: number, maxRows: number): Dealt<Slot> {
    const waiting = new Map(runs.map((run) => [run, this.#waiting(run)]));
    const dealt = new Map<Run<Slot>, Slot[]>();
    let slotsLeft = most;
    let rowsLeft = maxRows;
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

  /**
   * Slots of a run that can take part in a pass now. While the last ones at its current step are in a pass, which ends before
   * any that begins now, the others may go one step ahead.
   */
  #waiting({ slots }: Run<Slot>): Slot[] {
    const step = stepOf(slots);
    const idle = slots.filter((slot) => !this.#busy.has(slot) && !isDone(slot));
    const behind = idle.filter((slot) => slot.stepIndex === step);
    return behind.length > 0 ? behind : idle.filter((slot) => slot.stepIndex === step + 1);
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
      if (run.end !== undefined) this.#end(run, run.end);
      else if (run.slots.every(isDone)) this.#end(run, run.resolve);
      else if (run.signal.aborted) this.#end(run, () => run.reject(run.signal.reason));
    }
  }

  /** A job of which slots are in a pass ends after that. */
  #end(run: Run<Slot>, settle: () => void): void {
    run.end ??= settle;
    if (run.slots.some((slot) => this.#busy.has(slot))) return;
    this.#runs.delete(run);
    run.end();
  }
}
