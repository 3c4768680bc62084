// Whose running job makes room for another owner's, and when.

import { expect, it } from "vitest";
import { nextPreemption } from "../../edge/hub/admission/preemption.ts";
import type { RunningJob, WaitingJob } from "../../edge/hub/storage/queue/contention-store.ts";

const running = (id: string, changes: Partial<RunningJob> = {}): RunningJob => ({
  id,
  owner: "greedy",
  rank: 1,
  attempt: 1,
  served: 200,
  remaining: 800,
  yields: true,
  ...changes,
});
const waiting = (id: string, changes: Partial<WaitingJob> = {}): WaitingJob => ({
  id,
  owner: "modest",
  rank: 1,
  imageSteps: 5,
  sequence: null,
  ...changes,
});
const next = (
  run: readonly RunningJob[],
  wait: readonly WaitingJob[],
  asked: ReadonlyMap<string, string> = new Map(),
  queued: readonly WaitingJob[] = [],
  first: ReadonlySet<string> = new Set(),
) => nextPreemption({ running: run, waiting: wait, queued, asked, first });

it("takes the job with most left of the owner with most running", () => {
  const jobs = [
    running("a", { owner: "other", remaining: 900 }),
    running("b", { remaining: 700 }),
    running("c", { remaining: 750 }),
  ];
  expect(next(jobs, [waiting("w")])).toMatchObject({ victim: { id: "c" }, beneficiary: { id: "w" } });
});

it("interrupts nobody for an owner's own jobs, nor for one that has as many running, less one", () => {
  expect(next([running("a"), running("b")], [waiting("w", { owner: "greedy" })])).toBeUndefined();
  const own = running("m", { owner: "modest" });
  expect(next([running("a"), running("b"), own], [waiting("w")])).toBeUndefined();
  expect(next([running("a"), running("b"), running("c"), own], [waiting("w")])).toBeDefined();
});

it("gives a running job a turn first: as much as is asked for, at least eight image-steps and at most a hundred", () => {
  const isTaken = (served: number, imageSteps: number): boolean =>
    next([running("a", { served })], [waiting("w", { imageSteps })]) !== undefined;
  expect([7, 8].map((served) => isTaken(served, 1))).toEqual([false, true]);
  expect([39, 40].map((served) => isTaken(served, 40))).toEqual([false, true]);
  expect([99, 100].map((served) => isTaken(served, 1_000))).toEqual([false, true]);
});

it("has one of several given up without a turn for an owner that has none running, rather one that had it", () => {
  const fresh = running("a", { served: 0, remaining: 1_000 });
  expect(next([fresh], [waiting("w")])).toBeUndefined();
  expect(next([fresh, running("b", { served: 0, remaining: 900 })], [waiting("w")])?.victim?.id).toBe("a");
  expect(next([fresh, running("b", { served: 8, remaining: 900 })], [waiting("w")])?.victim?.id).toBe("b");
  const own = running("m", { owner: "modest" });
  const three = ["a", "b", "c"].map((id) => running(id, { served: 0 }));
  expect(next([...three, own], [waiting("w")])).toBeUndefined();
});

it("puts an owner's first one before others' in the queue where nobody can be interrupted, once", () => {
  const short = ["a", "b"].map((id) => running(id, { remaining: 3 }));
  const queued = [
    waiting("q1", { owner: "greedy", sequence: 10 }),
    waiting("q2", { owner: "greedy", sequence: 30 }),
  ];
  const first = next(short, [waiting("w", { sequence: 20 })], new Map(), queued);
  expect(first?.victim).toBeUndefined();
  expect(first?.recalled.map(({ id }) => id)).toEqual(["q1"]);
  expect(next(short, [waiting("w", { sequence: 20 })], new Map(), queued, new Set(["w"]))).toBeUndefined();
  expect(next(short, [waiting("w", { sequence: 5 })], new Map(), queued)).toBeUndefined();
  const own = running("m", { owner: "modest", remaining: 3 });
  expect(next([...short, own], [waiting("w", { sequence: 20 })], new Map(), queued)).toBeUndefined();
});

it("leaves alone what is nearly done, has a higher priority, or a worker that does not hand back", () => {
  expect(next([running("a", { remaining: 8 })], [waiting("w")])).toBeUndefined();
  expect(next([running("a", { rank: 0 })], [waiting("w")])).toBeUndefined();
  expect(next([running("a", { rank: 2 })], [waiting("w")])).toBeDefined();
  expect(next([running("a", { yields: false })], [waiting("w")])).toBeUndefined();
});

it("asks once for each waiting owner, and counts what it has asked for", () => {
  const jobs = [running("a"), running("b"), running("c")];
  const asked = new Map([["a", "w"]]);
  expect(next(jobs, [waiting("w")], asked)).toBeUndefined();
  expect(next(jobs, [waiting("w"), waiting("x", { owner: "another" })], asked)).toMatchObject({
    victim: { id: "b" },
    beneficiary: { id: "x" },
  });
  // Its next one is no newcomer any more: with one of three slots it has its share.
  expect(next(jobs, [waiting("w2")], new Map([["a", "w"]]))).toBeDefined();
  expect(
    next([running("b"), running("c"), running("w", { owner: "modest" })], [waiting("w2")]),
  ).toBeUndefined();
});

it("takes out of the queue what would overtake the one that is helped, if its owner has more running", () => {
  const queued = [
    waiting("q1", { owner: "greedy", sequence: 10 }),
    waiting("q2", { owner: "idle", sequence: 11 }),
    waiting("q3", { owner: "greedy", sequence: 30 }),
    waiting("q4", { owner: "greedy", sequence: 12, rank: 0 }),
  ];
  const recalled = (sequence: number | null): string[] | undefined =>
    next([running("a"), running("b")], [waiting("w", { sequence })], new Map(), queued)?.recalled.map(
      ({ id }) => id,
    );
  expect(recalled(20)).toEqual(["q1"]);
  expect(recalled(null)).toEqual(["q1", "q3"]);
});
