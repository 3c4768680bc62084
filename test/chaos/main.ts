// `npm run chaos`: fifty jobs while everything that can die does, several times.

import { parseArgs } from "node:util";
import { type Accident, runChaos } from "./chaos.ts";
import { faultsOf } from "./check.ts";

const HELP = `Usage: npm run chaos -- [options]

Starts the whole system and runs the same jobs twice, the second time while workers are killed, suspended for longer than
their lease, drained and added, nats-server is killed three times, and the edge with its hubs twice. Every job must end
once, with the images of the first run, almost no step may be repeated, and usage must be counted to the step.

  --jobs N      jobs                                             [50]
  --rounds N    times to repeat the faults                       [1]
  --steps N     minimum steps per job; up to 16 more are added   [14]
  --workers N   at the start                                     [3]
  --json        the figures as JSON
  -h, --help    this text
`;

const ROUND: readonly Accident[] = [
  "kill",
  "nats",
  "suspend",
  "drain",
  "hub",
  "kill",
  "add",
  "kill",
  "nats",
  "drain",
  "suspend",
  "kill",
  "hub",
  "kill",
  "nats",
  "drain",
  "kill",
  "suspend",
];
const LIMIT_MS = 20 * 60_000;

function readOptions() {
  try {
    return parseArgs({
      options: {
        jobs: { type: "string", default: "50" },
        rounds: { type: "string", default: "1" },
        steps: { type: "string", default: "14" },
        workers: { type: "string", default: "3" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    }).values;
  } catch (error) {
    process.stderr.write(`chaos: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(2);
  }
}
const values = readOptions();

function count(name: "jobs" | "rounds" | "steps" | "workers", max: number): number {
  const value = Number(values[name]);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  process.stderr.write(`--${name}: must be a whole number from 1 to ${max}, not "${values[name]}"\n`);
  process.exit(2);
}

if (values.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const minSteps = count("steps", 80);
const report = await runChaos({
  jobs: count("jobs", 100),
  minSteps,
  workers: count("workers", 16),
  accidents: Array.from({ length: count("rounds", 20) }, () => ROUND).flat(),
  limitMs: LIMIT_MS,
  say: (line) => process.stderr.write(`${line}\n`),
});
const faults = faultsOf(report, minSteps);
const { disturbed, undisturbed, steps, disturbedSteps, undisturbedSeconds, disturbedSeconds } = report;
const figures = {
  jobs: disturbed.length,
  identical: disturbed.filter(({ images }, job) => images.join() === undisturbed[job]?.images.join()).length,
  steps,
  extraSteps: disturbedSteps - steps,
  extraShare: Number((disturbedSteps / steps - 1).toFixed(4)),
  undisturbedSeconds: Number(undisturbedSeconds.toFixed(1)),
  disturbedSeconds: Number(disturbedSeconds.toFixed(1)),
  faults,
};
process.stdout.write(
  values.json
    ? `${JSON.stringify(figures)}\n`
    : `${figures.identical} of ${figures.jobs} jobs have the images of the undisturbed run; ` +
        `${figures.extraSteps} of ${steps} steps (${(100 * figures.extraShare).toFixed(1)} %) were made in vain; ` +
        `${figures.disturbedSeconds} s instead of ${figures.undisturbedSeconds} s\n`,
);
for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exit(faults.length === 0 ? 0 : 1);
