// Two groups of slots that take turns, on a simulated device beside simulated JavaScript.

import { setImmediate as nextTurn } from "node:timers/promises";
import { array, assert, asyncProperty, boolean, integer, record } from "fast-check";
import { expect, it } from "vitest";
import {
  Engine,
  type EngineOptions,
  type EngineSlot,
  type SlotStepper,
} from "../../gpu-worker/serving/engine.ts";

class SimulatedSlot implements EngineSlot {
  stepIndex = 0;
  readonly timesteps: readonly number[];
  constructor(total: number) {
    this.timesteps = Array.from({ length: total }, (_, i) => total - 1 - i);
  }
}

const slots = (images: number, total: number): SimulatedSlot[] =>
  Array.from({ length: images }, () => new SimulatedSlot(total));

interface Times {
  /** Of JavaScript, for each image of a pass: before it, and after it. */
  readonly prepareMs?: number;
  readonly moveMs?: number;
  /** Of the device, for each image. */
  readonly deviceMs?: number;
}

/** A device that computes passes in the order they come, beside one thread of JavaScript; each has a clock. */
class SimulatedDevice implements SlotStepper<SimulatedSlot> {
  readonly passes: number[] = [];
  /** Passes that it had to begin with, when one ended. */
  readonly queued: number[] = [];
  /** Ms between the end of a pass and the beginning of the next. */
  waitedMs = 0;
  hostMs = 0;
  freeMs = 0;
  /** Passes that fail, by what they are over. */
  fails: (slots: readonly SimulatedSlot[]) => boolean = () => false;
  readonly #times: Required<Times>;
  readonly #queue: { end: number; settle: () => void }[] = [];
  readonly #inPasses = new Set<SimulatedSlot>();

  constructor({ prepareMs = 0, moveMs = 0, deviceMs = 1 }: Times = {}) {
    this.#times = { prepareMs, moveMs, deviceMs };
  }

  beginStep(own: readonly SimulatedSlot[]): Promise<() => void> {
    for (const slot of own) {
      expect(this.#inPasses.has(slot)).toBe(false);
      expect(slot.stepIndex).toBeLessThan(slot.timesteps.length);
      this.#inPasses.add(slot);
    }
    this.hostMs += this.#times.prepareMs * own.length;
    if (this.passes.length > 0) this.waitedMs += Math.max(0, this.hostMs - this.freeMs);
    this.passes.push(own.length);
    this.freeMs = Math.max(this.hostMs, this.freeMs) + this.#times.deviceMs * own.length;
    const end = this.freeMs;
    const move = (): void => {
      this.hostMs += this.#times.moveMs * own.length;
      for (const slot of own) {
        this.#inPasses.delete(slot);
        slot.stepIndex++;
      }
    };
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        if (!this.fails(own)) {
          resolve(move);
          return;
        }
        for (const slot of own) this.#inPasses.delete(slot);
        reject(new Error("out of memory"));
      };
      this.#queue.push({ end, settle });
    });
  }

  /** Lets the device compute until `work` has settled: a pass ends only when JavaScript has nothing left to do before. */
  async until(work: Promise<unknown>): Promise<void> {
    const left = new Set([work]);
    const over = work.finally(() => left.clear());
    over.catch(() => {});
    while (left.size > 0) {
      for (let turn = 0; turn < 4; turn++) await nextTurn();
      const pass = this.#queue.shift();
      if (pass === undefined) continue;
      this.queued.push(this.#queue.length);
      this.hostMs = Math.max(this.hostMs, pass.end);
      pass.settle();
    }
    await over;
  }
}

const forever = new AbortController().signal;
const TIMES = { prepareMs: 1, moveMs: 1, deviceMs: 5 };

/** So many jobs of one image and ten steps, all of which come during a pass of one that has only that. */
async function serve(
  device: SimulatedDevice,
  jobs: number,
  options: EngineOptions<SimulatedSlot>,
): Promise<void> {
  const engine = new Engine(device, options);
  const report = (): void => void (device.hostMs += 1);
  const first = engine.run(slots(1, 1), forever, report);
  const runs = Array.from({ length: jobs }, () => engine.run(slots(1, 10), forever, report));
  await device.until(Promise.all([first, ...runs]));
}

it("keeps a device busy while JavaScript uses the results of one group and prepares the next pass of the other", async () => {
  const device = new SimulatedDevice(TIMES);
  await serve(device, 8, { maxSlots: 4, groups: 2 });
  expect(device.passes).toEqual([1, ...Array<number>(20).fill(4)]);
  // Only until both groups have begun.
  expect(device.waitedMs).toBe(1 + 1 + 4 * 1);
  // From then on there is nothing but the device's time, and the use of the last pass's results.
  expect(device.hostMs).toBe(1 + 5 + device.waitedMs + 20 * 4 * 5 + 4 * (1 + 1));
  expect(device.queued).toEqual([0, ...Array<number>(19).fill(1), 0]);
});

it("lets the device wait with a single group, as on a CPU", async () => {
  const device = new SimulatedDevice(TIMES);
  await serve(device, 8, { maxSlots: 8 });
  expect(device.passes).toEqual([1, ...Array<number>(10).fill(8)]);
  expect(device.waitedMs).toBe(1 + 1 + 8 * 1 + 9 * 8 * (1 + 1 + 1));
  expect(new Set(device.queued)).toEqual(new Set([0]));
});

it("makes one pass of what fits into one", async () => {
  const device = new SimulatedDevice(TIMES);
  await serve(device, 4, { maxSlots: 4, groups: 2 });
  expect(device.passes).toEqual([1, ...Array<number>(10).fill(4)]);
});

it("divides a job that runs alone, and reports each step with all of its images at it", async () => {
  const device = new SimulatedDevice(TIMES);
  const engine = new Engine(device, { maxSlots: 4, groups: 2 });
  const images = slots(10, 6);
  const seen: number[][] = [];
  await device.until(engine.run(images, forever, () => seen.push(images.map(({ stepIndex }) => stepIndex))));
  expect(seen).toEqual([1, 2, 3, 4, 5, 6].map((step) => Array<number>(10).fill(step)));
  expect(device.passes).toEqual(Array(12).fill(5));
  expect(device.waitedMs).toBe(0);
});

it("ends an aborted job only after the passes that its images are in", async () => {
  const device = new SimulatedDevice(TIMES);
  const engine = new Engine(device, { maxSlots: 2, groups: 2 });
  const abort = new AbortController();
  const [stopped, other] = [slots(4, 50), slots(2, 8)];
  const run = engine.run(stopped, abort.signal, () => {
    if (stopped[0]?.stepIndex === 3) abort.abort(new Error("canceled"));
  });
  const atEnd = run.then(
    () => [],
    () => stopped.map(({ stepIndex }) => stepIndex),
  );
  await device.until(Promise.all([engine.run(other, forever, () => {}), atEnd]));
  await expect(run).rejects.toThrow("canceled");
  expect(stopped.map(({ stepIndex }) => stepIndex)).toEqual(await atEnd);
  expect(other.map(({ stepIndex }) => stepIndex)).toEqual([8, 8]);
});

it("makes smaller passes for a while where two groups do not fit, and tries larger ones again", async () => {
  const device = new SimulatedDevice();
  let room = 3;
  device.fails = (own) => own.length > room;
  const engine = new Engine(device, { maxSlots: 6, maxRows: 6, groups: 2 });
  const images = slots(12, 60);
  let steps = 0;
  await device.until(engine.run(images, forever, () => (++steps === 2 ? (room = 6) : 0)));
  expect(steps).toBe(60);
  const threes = device.passes.filter((size) => size === 3).length;
  expect(threes).toBeGreaterThanOrEqual(100);
  expect(threes).toBeLessThan(110);
  expect(device.passes.at(-1)).toBe(6);
});

const job = record({
  images: integer({ min: 1, max: 5 }),
  steps: integer({ min: 1, max: 6 }),
  /** Turns after which it comes. */
  delay: integer({ min: 0, max: 8 }),
  /** Step at which it is canceled, beyond the last for never. */
  canceledAt: integer({ min: 1, max: 9 }),
  isPoison: boolean(),
});

it("makes each step once and in order, whatever comes, fails and leaves", async () => {
  const limits = record({ maxSlots: integer({ min: 1, max: 4 }), maxRows: integer({ min: 1, max: 6 }) });
  await assert(
    asyncProperty(array(job, { minLength: 1, maxLength: 5 }), limits, async (jobs, { maxSlots, maxRows }) => {
      const device = new SimulatedDevice(TIMES);
      const engine = new Engine(device, { maxSlots, maxRows, groups: 2 });
      const poison = new Set<SimulatedSlot>();
      device.fails = (own) => own.some((slot) => poison.has(slot) && slot.stepIndex === 1);
      const runs = jobs.map(async ({ images, steps, delay, canceledAt, isPoison }) => {
        for (let turn = 0; turn < delay; turn++) await nextTurn();
        const own = slots(images, steps);
        const abort = new AbortController();
        if (isPoison && own[0] !== undefined) poison.add(own[0]);
        let seen = 0;
        const outcome = await engine
          .run(own, abort.signal, () => {
            seen++;
            expect(own.map(({ stepIndex }) => stepIndex)).toEqual(Array(images).fill(seen));
            if (seen === canceledAt) abort.abort(new Error("canceled"));
          })
          .then(
            () => "succeeded",
            (error: unknown) => (error as Error).message,
          );
        const expected =
          isPoison && steps > 1 && canceledAt > 1
            ? "out of memory"
            : canceledAt < steps
              ? "canceled"
              : "succeeded";
        expect(outcome).toBe(expected);
        if (outcome === "succeeded") expect(seen).toBe(steps);
      });
      await device.until(Promise.all(runs));
    }),
    { numRuns: 60 },
  );
});
