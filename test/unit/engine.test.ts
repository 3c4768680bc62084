// The engine's bookkeeping: who is stepped when, and how jobs join, leave and fail.

import { describe, expect, it, onTestFinished, vi } from "vitest";
import { Engine, type EngineSlot, type SlotStepper } from "../../gpu-worker/serving/engine.ts";

/** A slot of a model whose step is to count; what the engine does with slots is the same for every model. */
class CountingSlot implements EngineSlot {
  stepIndex: number;
  readonly timesteps: readonly number[];
  constructor(total: number, done = 0) {
    this.timesteps = Array.from({ length: total }, (_, i) => total - 1 - i);
    this.stepIndex = done;
  }
}

class CountingStepper implements SlotStepper<CountingSlot> {
  readonly batches: number[] = [];
  async beginStep(slots: readonly CountingSlot[]): Promise<() => void> {
    this.batches.push(slots.length);
    return () => {
      for (const slot of slots) slot.stepIndex++;
    };
  }
}

const forever = new AbortController().signal;

it("steps jobs together, and lets a shorter one leave", async () => {
  const stepper = new CountingStepper();
  const engine = new Engine(stepper);
  const order: string[] = [];
  await Promise.all([
    engine.run([new CountingSlot(4)], forever, () => {}).then(() => order.push("long")),
    engine.run([new CountingSlot(2), new CountingSlot(2)], forever, () => {}).then(() => order.push("short")),
  ]);
  expect(order).toEqual(["short", "long"]);
  expect(stepper.batches.reduce((sum, size) => sum + size, 0)).toBe(8);
  expect(Math.max(...stepper.batches)).toBe(3);
});

it("lets a job join one that is running", async () => {
  const stepper = new CountingStepper();
  const engine = new Engine(stepper);
  let joined: Promise<void> | undefined;
  const first = new CountingSlot(5);
  await engine.run([first], forever, () => {
    if (first.stepIndex === 2) joined = engine.run([new CountingSlot(1)], forever, () => {});
  });
  await joined;
  expect(stepper.batches).toEqual([1, 1, 2, 1, 1]);
});

it("goes on from the step a slot is at, and has nothing to do for one that is done", async () => {
  const stepper = new CountingStepper();
  const engine = new Engine(stepper);
  let steps = 0;
  await engine.run([new CountingSlot(10, 7)], forever, () => steps++);
  expect(steps).toBe(3);
  await engine.run([new CountingSlot(10, 10)], forever, () => steps++);
  expect(steps).toBe(3);
});

it("stops an aborted job at its next step, with the reason, and leaves the others alone", async () => {
  const engine = new Engine(new CountingStepper());
  const abort = new AbortController();
  const reason = new Error("canceled");
  const stopped = new CountingSlot(100);
  const other = engine.run([new CountingSlot(6)], forever, () => {});
  const run = engine.run([stopped], abort.signal, () => {
    if (stopped.stepIndex === 3) abort.abort(reason);
  });
  await expect(run).rejects.toBe(reason);
  expect(stopped.stepIndex).toBe(3);
  await other;
});

it("ends the jobs of a failing pass with its error, and serves the next job", async () => {
  let failing = true;
  const counting = new CountingStepper();
  const engine = new Engine<CountingSlot>({
    beginStep: (slots) => (failing ? Promise.reject(new Error("out of memory")) : counting.beginStep(slots)),
  });
  await expect(engine.run([new CountingSlot(2)], forever, () => {})).rejects.toThrow("out of memory");
  failing = false;
  await engine.run([new CountingSlot(2)], forever, () => {});
  expect(counting.batches).toEqual([1, 1]);
});

it("ends only the job whose step report throws", async () => {
  const engine = new Engine(new CountingStepper());
  const good = engine.run([new CountingSlot(3)], forever, () => {});
  const bad = engine.run([new CountingSlot(3)], forever, () => {
    throw new Error("too large");
  });
  await expect(bad).rejects.toThrow("too large");
  await good;
});

it("gives each job its slot, and a job of many images what is left", async () => {
  const stepper = new CountingStepper();
  const engine = new Engine(stepper, { maxSlots: 4 });
  const many = Array.from({ length: 10 }, () => new CountingSlot(6));
  const seen: number[][] = [];
  const first = engine.run(many, forever, () => seen.push(many.map(({ stepIndex }) => stepIndex)));
  let ticks = 0;
  const single = (): Promise<void> => engine.run([new CountingSlot(5)], forever, () => ticks++);
  await Promise.all([single(), single()]);
  // The first pass may have begun before they came.
  expect(stepper.batches.slice(1).every((size) => size === 4)).toBe(true);
  expect(stepper.batches.length).toBeLessThanOrEqual(6);
  expect(ticks).toBe(10);
  // Two of four slots are left: ten images take five passes for a step, and none is two steps ahead.
  expect(Math.max(...many.map(({ stepIndex }) => stepIndex))).toBeLessThanOrEqual(3);
  await first;
  // Told of each step once, when all images have made it, and stepped whole when alone.
  expect(seen).toEqual([1, 2, 3, 4, 5, 6].map((step) => Array<number>(10).fill(step)));
  expect(stepper.batches.at(-1)).toBe(10);
});

/** Takes a millisecond and more for each slot of a pass, in the time that the test keeps. */
class TimedStepper extends CountingStepper {
  override async beginStep(slots: readonly CountingSlot[]): Promise<() => void> {
    const move = await super.beginStep(slots);
    await new Promise((resolve) => setTimeout(resolve, 100 * slots.length));
    return move;
  }
}

describe("shared evenly", () => {
  const slotsOf = (count: number, steps: number): CountingSlot[] =>
    Array.from({ length: count }, () => new CountingSlot(steps));
  const doneOf = (own: readonly CountingSlot[]): number =>
    own.reduce((sum, { stepIndex }) => sum + stepIndex, 0);

  it("gives each owner as many slots as another, however many jobs and images it has", async () => {
    const stepper = new CountingStepper();
    const engine = new Engine(stepper, { evenly: true });
    const greedy = [slotsOf(10, 60), slotsOf(10, 60), slotsOf(1, 60)];
    const modest = slotsOf(1, 60);
    const all = greedy.map((own) => engine.run(own, forever, () => {}, "greedy"));
    await engine.run(modest, forever, () => {}, "modest");
    // The pass that had begun comes on top.
    expect(Math.abs(doneOf(greedy.flat()) - 2 - doneOf(modest))).toBeLessThanOrEqual(1);
    // Together as long as they have had the same.
    expect(stepper.batches.filter((size) => size === 2).length).toBeGreaterThan(40);
    await Promise.all(all);
    expect(stepper.batches.reduce((sum, size) => sum + size, 0)).toBe(22 * 60);
  });

  it("lets an owner that had nothing to do come first, but not for long", async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const stepper = new TimedStepper();
    const engine = new Engine(stepper, { evenly: true });
    const greedy = slotsOf(10, 100);
    const all = engine.run(greedy, forever, () => {}, "greedy");
    await vi.advanceTimersByTimeAsync(5_000);
    /** Lets time pass until then. The engine waits for the event loop between passes, so not all at once. */
    const timeUntil = async <T>(awaited: Promise<T>): Promise<T> => {
      const state = { isOver: false };
      void awaited.then(() => (state.isOver = true));
      while (!state.isOver) await vi.advanceTimersByTimeAsync(50);
      return awaited;
    };
    /** How long a single image takes. */
    const timed = async (steps: number): Promise<number> => {
      const from = performance.now();
      const run = engine.run(slotsOf(1, steps), forever, () => {}, "now and then");
      return timeUntil(run.then(() => performance.now() - from));
    };
    // After the pass in progress, of two slots, it is alone: 100 ms a step.
    expect(await timed(10)).toBeLessThanOrEqual(1_250);
    // What it has not had for two seconds is used up, and each has half of the time.
    const long = await timed(100);
    expect(long).toBeGreaterThan(16_000);
    expect(long).toBeLessThan(22_000);
    await timeUntil(all);
  });

  it("does not stop an owner's job for a new one of the same owner, however little others' jobs have had", async () => {
    const engine = new Engine(new CountingStepper(), { evenly: true, maxRows: 1 });
    const many = Array.from({ length: 20 }, () => engine.run(slotsOf(1, 30), forever, () => {}, "many"));
    const older = slotsOf(1, 80);
    const newer = slotsOf(1, 80);
    const both: Promise<void>[] = [];
    const start = (): void => {
      if (doneOf(older) === 40) both.push(engine.run(newer, forever, () => {}, "few"));
    };
    await engine.run(older, forever, start, "few");
    // They have taken turns.
    expect(Math.abs(doneOf(newer) - 40)).toBeLessThanOrEqual(1);
    await Promise.all([...many, ...both]);
  });

  it("treats jobs of nobody known as of an owner each, and shares rows as slots", async () => {
    const rows: number[] = [];
    const counting = new CountingStepper();
    const engine = new Engine<CountingSlot>(
      {
        beginStep: (slots) => {
          rows.push(2 * slots.length);
          return counting.beginStep(slots);
        },
      },
      { maxSlots: 8, maxRows: 5, evenly: true, rowsOf: () => 2 },
    );
    const many = Array.from({ length: 6 }, () => new CountingSlot(4));
    const first = engine.run(many, forever, () => {});
    await engine.run([new CountingSlot(4), new CountingSlot(4)], forever, () => {});
    expect(Math.max(...rows)).toBeLessThanOrEqual(5);
    await first;
  });
});

it("deals what is left over to the jobs in turn", async () => {
  const engine = new Engine(new CountingStepper(), { maxSlots: 3 });
  const jobs = [0, 1].map(() => [new CountingSlot(30), new CountingSlot(30)]);
  const ends: number[] = [];
  let ticks = 0;
  await Promise.all(
    jobs.map((slots) => engine.run(slots, forever, () => ticks++).then(() => ends.push(ticks))),
  );
  // Neither is more than a step or two behind the other.
  expect(Math.abs((ends[1] ?? 0) - (ends[0] ?? 0))).toBeLessThanOrEqual(2);
});

it("ends only the job that a shared pass fails for, at the same step for the others", async () => {
  const poison = new CountingSlot(9);
  const counting = new CountingStepper();
  const splits: number[] = [];
  const engine = new Engine<CountingSlot>(
    {
      beginStep: async (slots) => {
        if (slots.includes(poison) && poison.stepIndex === 2) throw new Error("not a number");
        return counting.beginStep(slots);
      },
    },
    { onSplit: (_error, slots) => splits.push(slots) },
  );
  const mates = [new CountingSlot(5), new CountingSlot(5)];
  const good = mates.map((slot) => engine.run([slot], forever, () => {}));
  await expect(engine.run([poison], forever, () => {})).rejects.toThrow("not a number");
  await Promise.all(good);
  expect(poison.stepIndex).toBe(2);
  expect(splits).toEqual([3]);
  // Nobody was stepped twice.
  expect(counting.batches.reduce((sum, size) => sum + size, 0)).toBe(5 + 5 + 2);
});

it("makes smaller passes where large ones do not fit into memory", async () => {
  const counting = new CountingStepper();
  const engine = new Engine<CountingSlot>({
    beginStep: (slots) =>
      slots.length > 4 ? Promise.reject(new Error("bad allocation")) : counting.beginStep(slots),
  });
  const slots = Array.from({ length: 8 }, () => new CountingSlot(3));
  let steps = 0;
  await engine.run(slots, forever, () => steps++);
  expect(steps).toBe(3);
  expect(counting.batches).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 4, 4, 4, 4]);
});

it("tries larger passes again when memory was short for a while only", async () => {
  const counting = new CountingStepper();
  let room = 4;
  const engine = new Engine<CountingSlot>(
    {
      beginStep: (slots) =>
        slots.length > room ? Promise.reject(new Error("out of memory")) : counting.beginStep(slots),
    },
    { maxRows: 8 },
  );
  const slots = Array.from({ length: 8 }, () => new CountingSlot(200));
  let steps = 0;
  await engine.run(slots, forever, () => {
    if (++steps === 2) room = 8;
  });
  const largest = counting.batches.lastIndexOf(4);
  // A hundred passes of four, half a step each, then all eight at once to the end.
  expect(counting.batches.slice(0, 8)).toEqual(Array(8).fill(1));
  expect(counting.batches.slice(8, largest + 1)).toEqual(Array(100).fill(4));
  expect(new Set(counting.batches.slice(largest + 1))).toEqual(new Set([8]));
});

it("keeps a pass within its rows, counting guided slots twice, and takes turns where not all jobs fit", async () => {
  const counting = new CountingStepper();
  const rows: number[] = [];
  const guided = new Set<CountingSlot>();
  const rowsOf = (slot: CountingSlot): number => (guided.has(slot) ? 2 : 1);
  const engine = new Engine<CountingSlot>(
    {
      beginStep: (slots) => {
        rows.push(slots.reduce((sum, slot) => sum + rowsOf(slot), 0));
        return counting.beginStep(slots);
      },
    },
    { maxSlots: 8, maxRows: 3, rowsOf },
  );
  const ends: number[] = [];
  await Promise.all(
    [1, 2, 3, 4].map(async () => {
      const slot = new CountingSlot(12);
      guided.add(slot);
      await engine.run([slot], forever, () => {});
      ends.push(rows.length);
    }),
  );
  expect(Math.max(...rows)).toBeLessThanOrEqual(3);
  // Only one of the four fits at a time, and all come in at the end together, the first a turn ahead.
  expect(rows).toHaveLength(48);
  expect(Math.min(...ends)).toBeGreaterThanOrEqual(40);
});
