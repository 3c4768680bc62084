// `npm run bench -- load`: the whole system at a fraction and at a multiple of what it can do.

import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { drawLoad, loadTable, type LoadReport } from "./load/report.ts";
import { type Level, measureAlone, measureCapacity, measureLevel } from "./load/run.ts";
import { startSystem } from "./load/system.ts";
import { asLine, describeMachine } from "./machine.ts";

const HELP = `Usage: npm run bench -- load [options]

Measures what the stack can do with a full queue, then offers jobs as a Poisson stream at multiples of that: by HTTP,
from five callers of single images and one of ten at a time. Ends by itself, after about 6 minutes with the defaults.

  --loads LIST     multiples of the capacity                 [0.2,0.5,0.8,1,1.5,2,3]
  --seconds N      of each of them, 10 to 600                [40]
  --workers N      1 to 16                                   [1]
  --slots N        of each worker, 1 to 64                   [4]
  --steps N        of each job, 1 to 100                     [5]
  --queue N        jobs that may wait or run, 4 to 1000      [24]
  --seed N         of arrivals and images                  [1]
  --out FILE       where to write the figures as JSON as well
  --from FILES     does not measure: joins figures written earlier, comma separated
  --plot FILE      draws latency and throughput as SVG
  --json           JSON alone on stdout (with npm run -s)
  -h, --help       this text
`;

const CAPACITY_SECONDS = 35;

const { values } = parseArgs({
  options: {
    loads: { type: "string", default: "0.2,0.5,0.8,1,1.5,2,3" },
    seconds: { type: "string", default: "40" },
    workers: { type: "string", default: "1" },
    slots: { type: "string", default: "4" },
    steps: { type: "string", default: "5" },
    queue: { type: "string", default: "24" },
    seed: { type: "string", default: "1" },
    out: { type: "string" },
    from: { type: "string" },
    plot: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

type NumberOption = "seconds" | "workers" | "slots" | "steps" | "queue" | "seed";

function number(name: NumberOption, min: number, max: number): number {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < min || value > max)
    throw new Error(`--${name} must be an integer from ${min} to ${max}, not ${values[name]}`);
  return value;
}

function loadsOf(list: string): number[] {
  const loads = list.split(",").map(Number);
  if (loads.every((load) => load > 0 && load <= 10)) return loads;
  throw new Error(`--loads must be comma separated numbers above 0 and up to 10, not ${list}`);
}

async function measure(): Promise<LoadReport> {
  const loads = loadsOf(values.loads);
  const settings = {
    workers: number("workers", 1, 16),
    slots: number("slots", 1, 64),
    steps: number("steps", 1, 100),
    queueLimit: number("queue", 4, 1_000),
    seed: number("seed", 0, 2 ** 32 - 1),
  };
  const [seconds, { seed, queueLimit }] = [number("seconds", 10, 600), settings];
  const say = (text: string): void => void process.stderr.write(`${text}\n`);
  await using system = await startSystem(settings);
  const { api } = system;
  const alone = await measureAlone(api);
  say(`alone: ${asLine({ ...alone })}`);
  // Two less than the queue takes: one that has just ended may still count.
  const capacity = await measureCapacity(api, seed, {
    outstanding: queueLimit - 2,
    seconds: CAPACITY_SECONDS,
  });
  say(`capacity: ${asLine({ ...capacity })}`);
  const levels: Level[] = [];
  for (const [index, load] of loads.entries()) {
    // Seeds so far apart that no image comes twice.
    const level = await measureLevel(api, seed + (index + 1) * 100_000, { load, capacity, alone, seconds });
    levels.push(level);
    say(`load ${load}: ${JSON.stringify(level)}`);
  }
  return { machine: describeMachine(), ...settings, alone, capacity, levels };
}

/** Levels of several runs with the same settings, with the first one's capacity beside each level's own. */
function joined(files: readonly string[]): LoadReport {
  const reports = files.map((file) => JSON.parse(readFileSync(file, "utf8")) as LoadReport);
  const [first] = reports;
  if (first === undefined) throw new Error("--from names no file");
  const levels = reports.flatMap((report) => report.levels).toSorted((a, b) => a.load - b.load);
  return { ...first, levels };
}

if (values.help) {
  process.stdout.write(HELP);
} else {
  const report = values.from === undefined ? await measure() : joined(values.from.split(","));
  const json = `${JSON.stringify(report)}\n`;
  if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(report, undefined, 2)}\n`);
  if (values.plot !== undefined) writeFileSync(values.plot, drawLoad(report));
  process.stdout.write(values.json ? json : `${loadTable(report)}\n${json}`);
}
