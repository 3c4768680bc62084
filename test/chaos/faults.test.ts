// Jobs that kill, hang, block or fill up their worker: they are given up, and the others hardly notice.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPrediction, getPrediction, readEvents } from "../integration/support/client.ts";
import { startTestStack, type TestStack } from "../integration/support/stack.ts";
import { type FaultKind, type Faults, faultyEnvironment } from "./faults.ts";
import { inputOf } from "./jobs.ts";

const LEASE_SECONDS = 2;
const MAX_ATTEMPTS = 2;
const STEP = 2;

const SEEDS = {
  kill: 666_001,
  hang: 666_002,
  block: 666_003,
  oom: 666_004,
  throw: 666_005,
} as const satisfies Record<FaultKind, number>;
const FAULTS: Faults = Object.fromEntries(
  Object.entries(SEEDS).map(([kind, seed]) => [seed, { kind: kind as FaultKind, step: STEP }]),
);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vqd-faults-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function startFaulty(workers: number, slots: number): Promise<TestStack> {
  const faulty = faultyEnvironment(join(folder, "steps"), FAULTS);
  return startTestStack({
    workers,
    shortModel: true,
    leaseSeconds: LEASE_SECONDS,
    workerEnv: {
      ...faulty,
      // Of the heap: the model's weights lie outside of it.
      NODE_OPTIONS: `${faulty["NODE_OPTIONS"]} --max-old-space-size=192`,
      VQD_STALL_SECONDS: String(LEASE_SECONDS),
      VQD_MAX_ATTEMPTS: String(MAX_ATTEMPTS),
      VQD_SLOTS: String(slots),
    },
  });
}

/** Steps that had been made before each start of a prediction. */
async function startsOf(test: TestStack, id: string): Promise<number[]> {
  const starts: number[] = [];
  for await (const { event, data } of readEvents(test, id)) {
    if (event === "started") starts.push((JSON.parse(data) as { resumed_from: number }).resumed_from);
  }
  return starts;
}

const GOOD = { ...inputOf(1, 60), num_outputs: 1 };

/**
 * Runs a harmful job beside two others, and checks that it is given up and that the others are finished. Resolves to the starts of
 * these: a job that is held up by a worker that dies or hangs starts again.
 */
async function giveUp(test: TestStack, kind: FaultKind, message: RegExp): Promise<number[][]> {
  const beside = await Promise.all([1, 2].map((seed) => createPrediction(test, { ...GOOD, seed })));
  const startsBeside = beside.map(({ id }) => startsOf(test, id));
  const bad = await createPrediction(test, { prompt: "pizza", seed: SEEDS[kind], num_inference_steps: 12 });

  const starts = await startsOf(test, bad.id);
  const ended = await getPrediction(test, bad.id);
  expect(ended.status).toBe("failed");
  expect(ended.error).toMatch(message);
  // Attempts that make a step do not count; of a worker that dies at once, the last step need not have been stored.
  const inVain = new Set(starts.slice(-MAX_ATTEMPTS));
  expect(inVain.size).toBe(1);
  expect(Math.max(...inVain)).toBeLessThanOrEqual(STEP);
  const withSteps = starts.slice(0, -MAX_ATTEMPTS);
  expect(withSteps[0]).toBe(0);
  expect(withSteps).toEqual(withSteps.toSorted((a, b) => a - b));
  expect(withSteps.length).toBeLessThanOrEqual(MAX_ATTEMPTS * STEP);

  const others = await Promise.all(startsBeside);
  for (const { id } of beside) expect((await getPrediction(test, id)).status).toBe("succeeded");
  return others;
}

describe("with a slot for each worker", { timeout: 240_000 }, () => {
  let test: TestStack;
  beforeAll(async () => {
    test = await startFaulty(3, 1);
  });
  afterAll(() => test.stop());

  it.each([
    ["kill", /consecutive attempts/],
    ["hang", /consecutive attempts/],
    ["block", /consecutive attempts/],
    ["oom", /consecutive attempts/],
    ["throw", /the model failed/],
  ] as const)("gives up a job that ends its workers by %s, and holds nobody up", async (kind, message) => {
    await test.stack.waitReady();
    for (const starts of await giveUp(test, kind, message)) {
      // One that is being finished, its slot free again, can be struck: it is finished elsewhere, and loses no step.
      expect([[0], [0, GOOD.num_inference_steps]]).toContainEqual(starts);
    }
  });
});

it("finds out which job of a pass hangs, and finishes the others", { timeout: 240_000 }, async () => {
  const test = await startFaulty(2, 2);
  try {
    for (const starts of await giveUp(test, "hang", /consecutive attempts/)) {
      // Those in its pass are held up with it twice at most: then it is taken alone.
      expect(starts.length).toBeLessThanOrEqual(1 + 2);
      expect(starts).toEqual(starts.toSorted((a, b) => a - b));
    }
  } finally {
    await test.stop();
  }
});
