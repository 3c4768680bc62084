// `npm run bench -- cancel`: how long a canceled job keeps its slot while others run and more wait.

import { parseArgs } from "node:util";
import { type Cancellation, measureCancellations, WorkerLog } from "./load/cancellations.ts";
import { startSystem } from "./load/system.ts";
import { asLine, describeMachine } from "./machine.ts";

const HELP = `Usage: npm run bench -- cancel [options]

Fills the slots of a worker and its queue, cancels running jobs by HTTP, and measures until the next job begins in the
freed slot: in milliseconds, and in steps of the worker. Takes about 2 minutes with the defaults.

  --count N        cancellations, 1 to 1000                  [60]
  --slots N        of the worker, 1 to 64                    [4]
  --waiting N      jobs in the queue, 1 to 500               [8]
  --steps N        of each job, 1 to 100                     [100]
  --seed N         of what is canceled, and when             [1]
  --json           JSON alone on stdout (with npm run -s)
  -h, --help       this text
`;

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "60" },
    slots: { type: "string", default: "4" },
    waiting: { type: "string", default: "8" },
    steps: { type: "string", default: "100" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

function number(name: "count" | "slots" | "waiting" | "steps" | "seed", min: number, max: number): number {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < min || value > max)
    throw new Error(`--${name} must be an integer from ${min} to ${max}, not ${values[name]}`);
  return value;
}

/** Median, 95th percentile and largest, to a tenth. */
function spread(numbers: readonly number[]) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    Math.round(10 * (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0)) / 10;
  return { p50: at(0.5), p95: at(0.95), max: at(1) };
}

type Moment = "answered" | "stopped" | "freed";

const summarise = (all: readonly Cancellation[], moment: Moment) => ({
  ms: spread(all.map((one) => one[moment])),
  steps: spread(all.map((one) => one[moment] / one.step)),
});

async function measure() {
  const settings = {
    count: number("count", 1, 1_000),
    slots: number("slots", 1, 64),
    waiting: number("waiting", 1, 500),
    steps: number("steps", 1, 100),
    seed: number("seed", 0, 2 ** 32 - 1),
  };
  const { slots, waiting, steps } = settings;
  const log = new WorkerLog();
  const queueLimit = slots + waiting + 2;
  await using system = await startSystem({ workers: 1, slots, steps, queueLimit, log: log.sink });
  const all = await measureCancellations(system.stack, log, settings);
  return {
    machine: describeMachine(),
    ...settings,
    counted: all.length,
    step_ms: spread(all.map(({ step }) => step)),
    answered: summarise(all, "answered"),
    stopped: summarise(all, "stopped"),
    freed: summarise(all, "freed"),
  };
}

function table(report: Awaited<ReturnType<typeof measure>>): string {
  const { machine, counted, slots, waiting, step_ms: step } = report;
  const row = (name: string, { ms, steps }: ReturnType<typeof summarise>): string =>
    `| ${name} | ${ms.p50} | ${ms.p95} | ${ms.max} | ${steps.p50} | ${steps.p95} | ${steps.max} |`;
  return [
    asLine(machine),
    `${counted} cancellations, ${slots} slots busy, ${waiting} jobs waiting, a step of ${step.p50} ms`,
    "",
    "| from the request to | p50, ms | p95 | max | p50, steps | p95 | max |",
    "| --- | --: | --: | --: | --: | --: | --: |",
    row("its answer: final for the client", report.answered),
    row("the job is stopped", report.stopped),
    row("the next job has begun in its slot", report.freed),
    "",
  ].join("\n");
}

if (values.help) {
  process.stdout.write(HELP);
} else {
  const report = await measure();
  const json = `${JSON.stringify(report)}\n`;
  process.stdout.write(values.json ? json : `${table(report)}\n${json}`);
}
