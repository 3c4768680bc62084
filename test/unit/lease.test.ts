// A worker's right to a job: when it is extended, when it counts as lost, and that nothing is said of a lost one.

import * as fc from "fast-check";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Lease, LeaseLostError } from "../../gpu-worker/jobs/lease.ts";

const LEASE_MS = 9_000;
const TICK_MS = LEASE_MS / 3;

// The clock and the timer are separate: those of a process that was suspended have come apart.
beforeEach(() => void vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] }));
afterEach(() => void vi.useRealTimers());

function leaseOf({ confirms = true } = {}) {
  const clock = { now: 1_000 };
  const connection = { isUp: true };
  /** What the server has been told. */
  const told: string[] = [];
  const delivery = {
    working: () => void told.push("working"),
    nak: (delayMs?: number) => void told.push(`nak ${delayMs}`),
    ack: async () => {
      told.push("ack");
      return confirms;
    },
  };
  const lease = new Lease(
    delivery,
    LEASE_MS,
    () => connection.isUp,
    () => clock.now,
  );
  /** The time of a process that runs. */
  const pass = (ms: number): void => {
    for (let left = ms; left > 0; left -= TICK_MS) {
      const step = Math.min(left, TICK_MS);
      clock.now += step;
      vi.advanceTimersByTime(step);
    }
  };
  /** The time of one that is suspended: its timers stand still. */
  const suspend = (ms: number): void => void (clock.now += ms);
  return { lease, told, connection, pass, suspend };
}

it("is extended three times in each lease period, until it is acknowledged", async () => {
  const { lease, told, pass } = leaseOf();
  pass(2 * LEASE_MS);
  expect(told).toEqual(Array.from({ length: 6 }, () => "working"));
  expect(await lease.complete()).toBe(true);
  expect(told.slice(6)).toEqual(["ack"]);
  pass(LEASE_MS);
  expect(told).toHaveLength(7);
  expect(lease.signal.aborted).toBe(false);
});

it("is not complete if the server does not confirm the acknowledgement", async () => {
  const { lease, told } = leaseOf({ confirms: false });
  expect(await lease.complete()).toBe(false);
  expect(told).toEqual(["ack"]);
});

it("is handed back with its delay, and no longer extended", () => {
  const { lease, told, pass } = leaseOf();
  lease.handBack(250);
  pass(2 * LEASE_MS);
  expect(told).toEqual(["nak 250"]);
});

it("is lost by a worker that was suspended for its length, as soon as a timer runs", async () => {
  const { lease, told, pass, suspend } = leaseOf();
  suspend(LEASE_MS);
  expect(lease.signal.aborted).toBe(false);
  pass(TICK_MS);
  expect(lease.signal.reason).toBeInstanceOf(LeaseLostError);
  pass(LEASE_MS);
  expect(await lease.complete()).toBe(false);
  lease.handBack();
  lease.extend();
  expect(told).toEqual([]);
});

it("is not acknowledged late, even before any timer runs", async () => {
  const { lease, told, suspend } = leaseOf();
  suspend(LEASE_MS);
  expect(await lease.complete()).toBe(false);
  expect(told).toEqual([]);
  expect(lease.signal.reason).toBeInstanceOf(LeaseLostError);
});

it("is not handed back late either", () => {
  const { lease, told, suspend } = leaseOf();
  suspend(LEASE_MS);
  lease.handBack();
  expect(told).toEqual([]);
});

it("is still the worker's a millisecond before its end", async () => {
  const { lease, told, suspend } = leaseOf();
  suspend(LEASE_MS - 1);
  expect(await lease.complete()).toBe(true);
  expect(told).toEqual(["ack"]);
});

it("begins anew with each extension, also with one between two ticks", async () => {
  const { lease, told, suspend } = leaseOf();
  suspend(LEASE_MS - 1);
  lease.extend();
  suspend(LEASE_MS - 1);
  expect(await lease.complete()).toBe(true);
  expect(told).toEqual(["working", "ack"]);
});

it("outlasts a connection that comes back in time, and not one that stays away", () => {
  const { lease, told, connection, pass } = leaseOf();
  connection.isUp = false;
  pass(2 * TICK_MS);
  expect(told).toEqual([]);
  connection.isUp = true;
  // The third tick is at the very end of the lease.
  lease.extend();
  connection.isUp = false;
  pass(LEASE_MS - TICK_MS);
  expect(lease.signal.aborted).toBe(false);
  pass(TICK_MS);
  expect(lease.signal.reason).toBeInstanceOf(LeaseLostError);
  expect(told).toEqual(["working"]);
});

it("is given up without a word when it is abandoned", () => {
  const { lease, told, pass } = leaseOf();
  lease.abandon();
  pass(3 * LEASE_MS);
  expect(told).toEqual([]);
  expect(lease.signal.aborted).toBe(false);
});

it("is another worker's once it is said to be lost", async () => {
  const { lease, told, pass } = leaseOf();
  lease.lose();
  expect(lease.signal.reason).toBeInstanceOf(LeaseLostError);
  pass(LEASE_MS);
  expect(await lease.complete()).toBe(false);
  expect(told).toEqual([]);
});

it("never tells the server anything after a silence of its length, whatever happened", async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constantFrom("pass", "suspend"), ms: fc.integer({ min: 0, max: 2 * LEASE_MS }) }),
    fc.record({ kind: fc.constantFrom("connect", "disconnect", "extend"), ms: fc.constant(0) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const { lease, told, connection, pass, suspend } = leaseOf();
      // What a server would know: when it last heard of the job, in time that passes whether or not the process runs.
      let now = 0;
      let heardAt = 0;
      let count = 0;
      const listen = (): void => {
        if (told.length === count) return;
        expect(now - heardAt).toBeLessThan(LEASE_MS);
        count = told.length;
        heardAt = now;
      };
      for (const { kind, ms } of steps) {
        if (kind === "connect" || kind === "disconnect") connection.isUp = kind === "connect";
        if (kind === "extend") lease.extend();
        if (kind === "suspend") {
          suspend(ms);
          now += ms;
        }
        if (kind === "pass") {
          for (let left = ms; left > 0; left -= 500) {
            pass(Math.min(left, 500));
            now += Math.min(left, 500);
            listen();
          }
        }
        listen();
      }
      const isHeld = now - heardAt < LEASE_MS && !lease.signal.aborted;
      expect(await lease.complete()).toBe(isHeld);
      expect(told.includes("ack")).toBe(isHeld);
    }),
  );
});
