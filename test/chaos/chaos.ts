// The whole system under accidents: what is killed, stopped, drained and added while jobs run, and what became of them.

import { createHash, randomBytes } from "node:crypto";
import { statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Child } from "../../infra/stack/children/child.ts";
import { startTestStack, type TestStack } from "../integration/support/stack.ts";
import { faultyEnvironment } from "./faults.ts";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { readUsage, type UsageReport } from "./usage.ts";
import { inputOf, insist, isLong, type Outcome, OWNERS, stepsOf } from "./jobs.ts";

const LEASE_SECONDS = 2;
const POLL_MS = 10;
const KEY_BYTES = 24;
const digestOf = (key: string): string => createHash("sha256").update(key).digest("hex");
/** A worker that is stopped for so long has lost its jobs when it goes on. */
const SUSPENDED_MS = LEASE_SECONDS * 1_600;

export type Accident = "kill" | "suspend" | "drain" | "add" | "nats" | "hub";

export interface ChaosOptions {
  readonly jobs: number;
  readonly minSteps: number;
  readonly workers: number;
  /** In this order, spread evenly over the steps to be made. */
  readonly accidents: readonly Accident[];
  readonly limitMs: number;
  readonly say?: (line: string) => void;
}

export interface ChaosReport {
  readonly undisturbed: readonly Outcome[];
  readonly disturbed: readonly Outcome[];
  /** Steps of single images: that the jobs have, and that workers began in the two runs. */
  readonly steps: number;
  readonly undisturbedSteps: number;
  readonly disturbedSteps: number;
  readonly undisturbedSeconds: number;
  readonly disturbedSeconds: number;
  /** Of both runs. */
  readonly usage: UsageReport;
}

/** Runs the same jobs twice, the second time with accidents. The images of both, and what they cost. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { jobs, workers, minSteps, limitMs, say = () => {} } = options;
  const folder = await mkdtemp(join(tmpdir(), "vqd-chaos-"));
  const keys = Array.from({ length: OWNERS }, () => randomBytes(KEY_BYTES).toString("base64url"));
  const stepsFile = join(folder, "steps");
  writeFileSync(stepsFile, "");
  const made = (): number => statSync(stepsFile).size;
  const test = await startTestStack({
    workers,
    shortModel: true,
    leaseSeconds: LEASE_SECONDS,
    workerEnv: { VQD_STALL_SECONDS: String(LEASE_SECONDS), VQD_SLOTS: "2", ...faultyEnvironment(stepsFile) },
    apiKey: keys[0] ?? "",
    edgeEnv: {
      QUEUE_TIMEOUT_SECONDS: "600",
      API_KEYS: keys.map((key, owner) => `owner-${owner}:${digestOf(key)}`).join(","),
    },
  });
  try {
    const inputs = Array.from({ length: jobs }, (_, job) => inputOf(job, minSteps));
    const steps = inputs.reduce((sum, input) => sum + stepsOf(input), 0);
    const runAll = (name: string): Promise<Outcome[]> => {
      const signal = AbortSignal.timeout(limitMs);
      const outcomes = new Map<number, Promise<Outcome>>();
      const run = (job: number, onCreated?: () => void): Promise<Outcome> => {
        const client = { url: test.url, apiKey: keys[job % OWNERS] ?? "" };
        const input = inputs[job] ?? outOfBounds();
        return insist(client, input, { key: `${name}-${job}`, signal, ...(onCreated && { onCreated }) });
      };
      // The long ones first, so that they have all slots when the others come.
      const longAreCreated = Promise.all(
        [...inputs.keys()].filter(isLong).map(
          (job) =>
            new Promise<void>((resolve) => {
              outcomes.set(job, run(job, resolve));
            }),
        ),
      );
      return longAreCreated.then(() =>
        Promise.all([...inputs.keys()].map((job) => outcomes.get(job) ?? run(job))),
      );
    };
    let startedAt = performance.now();
    const seconds = (): number => (performance.now() - startedAt) / 1_000;
    const undisturbed = await runAll("undisturbed");
    const [undisturbedSteps, undisturbedSeconds] = [made(), seconds()];
    const interruptions = undisturbed.reduce((sum, { attempts }) => sum + attempts - 1, 0);
    say(
      `undisturbed: ${undisturbedSteps} steps in ${undisturbedSeconds.toFixed(1)} s, ${interruptions} interruptions`,
    );

    startedAt = performance.now();
    const over = new AbortController();
    const [disturbed] = await Promise.all([
      runAll("disturbed").finally(() => over.abort()),
      causeAccidents(test, options, {
        stepsDue: (share) => undisturbedSteps + share * steps,
        made,
        seconds,
        signal: over.signal,
      }),
    ]);
    const [disturbedSteps, disturbedSeconds] = [made() - undisturbedSteps, seconds()];
    say(`disturbed: ${disturbedSteps} steps in ${disturbedSeconds.toFixed(1)} s`);
    const usage = await readUsage(keys.map((apiKey) => ({ url: test.url, apiKey })));
    return {
      undisturbed,
      disturbed,
      steps,
      undisturbedSteps,
      disturbedSteps,
      undisturbedSeconds,
      disturbedSeconds,
      usage,
    };
  } finally {
    await test.stop();
    await rm(folder, { recursive: true });
  }
}

interface Progress {
  /** Steps made when so much of the run is over. */
  readonly stepsDue: (share: number) => number;
  readonly made: () => number;
  readonly seconds: () => number;
  readonly signal: AbortSignal;
}

async function causeAccidents(
  test: TestStack,
  { accidents, say = () => {} }: ChaosOptions,
  { stepsDue, made, seconds, signal }: Progress,
): Promise<void> {
  const recoveries: Promise<unknown>[] = [];
  for (const [index, accident] of accidents.entries()) {
    // The last one has some of the run left to show what it does.
    const due = stepsDue((index + 0.5) / (accidents.length + 0.5));
    // A count in a file, of other processes: there is no event to wait for.
    while (made() < due && !signal.aborted) await delay(POLL_MS);
    if (signal.aborted) throw new Error(`the jobs were done before accident ${index + 1}, ${accident}`);
    say(`${seconds().toFixed(1)} s, after ${made() - stepsDue(0)} steps: ${accident}`);
    recoveries.push(...(await cause(test, accident, index)));
  }
  await Promise.all(recoveries);
}

/** What is under way when it returns. */
async function cause({ stack }: TestStack, accident: Accident, index: number): Promise<Promise<unknown>[]> {
  const ready = stack.workers.filter(({ state }) => state === "ready");
  const worker = ready[index % Math.max(1, ready.length)] ?? stack.workers[0];
  if (worker === undefined) throw new Error("there are no workers");
  switch (accident) {
    case "kill":
      await worker.kill("SIGKILL");
      return [];
    case "drain":
      await worker.kill("SIGTERM");
      return [];
    case "suspend":
      return [suspend(worker)];
    case "add":
      return [stack.addWorker()];
    case "nats":
      await stack.nats.kill("SIGKILL");
      return [];
    case "hub":
      await stack.edge.kill("SIGKILL");
      return [];
  }
}

/** What it had begun goes on elsewhere meanwhile; it finds out when it goes on. */
async function suspend({ pid }: Child): Promise<void> {
  if (pid === undefined) return;
  process.kill(pid, "SIGSTOP");
  await delay(SUSPENDED_MS);
  try {
    process.kill(pid, "SIGCONT");
  } catch (error) {
    // Killed meanwhile.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
