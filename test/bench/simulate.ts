// `npm run bench -- simulate`: one to a thousand workers, simulated from measured times, and where NATS and hubs
// saturate.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { IMAGES_PER_JOB } from "./load/callers.ts";
import type { LoadReport } from "./load/report.ts";
import { asLine } from "./machine.ts";
import { type Measured, measureAll } from "./simulate/measure.ts";
import { arithmetic, drawScaling, reachTable, scalingTable, validationTable } from "./simulate/report.ts";
import { type Scenario, scalingRow, simulatedLoad, workerCapacity, workerModel } from "./simulate/scaling.ts";

const RECORDED = join(import.meta.dirname, "simulate", "recorded");
const WORKERS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];
const LOADS = [0.5, 0.8, 0.95];

const HELP = `Usage: npm run bench -- simulate [options]

Simulates 1 to 1,000 workers that share a queue: throughput and waits, messages and events a second, and how many
workers a nats-server and a hub can sustain. Starts from figures measured on a machine, which --measure repeats (2 minutes).
The same seed gives the same result.

  --measured FILE  the figures              [those in test/bench/simulate/recorded]
  --measure        measures them on this machine first, and writes them to FILE
  --slots N        of a worker, 1 to 64     [4]
  --threads N      of a worker, as measured [2]
  --steps N        of a job, 1 to 1000      [25]
  --workers LIST   numbers of workers       [${WORKERS.join(",")}]
  --seed N         of the arrivals          [1]
  --plot FILE      draws throughput and waits as SVG
  --json           JSON alone on stdout (with npm run -s)
  -h, --help       this text
`;

const { values } = parseArgs({
  options: {
    measured: { type: "string", default: join(RECORDED, "machine.json") },
    measure: { type: "boolean", default: false },
    slots: { type: "string", default: "4" },
    threads: { type: "string", default: "2" },
    steps: { type: "string", default: "25" },
    workers: { type: "string", default: WORKERS.join(",") },
    seed: { type: "string", default: "1" },
    plot: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

function integer(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < min || value > max)
    throw new Error(`--${name} must be an integer from ${min} to ${max}, not ${text}`);
  return value;
}

function readMeasured(file: string): Measured {
  if (!existsSync(file)) throw new Error(`--measured: ${file} is not there; --measure writes it`);
  return JSON.parse(readFileSync(file, "utf8")) as Measured;
}

/** Runs of the load bench on the machine of the recorded figures. */
function recordedLoads(): LoadReport[] {
  return ["load-1.json", "load-2.json"]
    .map((name) => join(RECORDED, name))
    .filter(existsSync)
    .map((file) => JSON.parse(readFileSync(file, "utf8")) as LoadReport);
}

async function main(): Promise<void> {
  const scenario: Scenario = {
    slots: integer("slots", values.slots, 1, 64),
    threads: integer("threads", values.threads, 1, 256),
    steps: integer("steps", values.steps, 1, 1_000),
    seed: integer("seed", values.seed, 0, 2 ** 32 - 2),
  };
  const counts = values.workers.split(",").map((count) => integer("workers", count, 1, 10_000));
  if (values.measure) writeFileSync(values.measured, `${JSON.stringify(await measureAll(), undefined, 2)}\n`);
  const measured = readMeasured(values.measured);
  const model = workerModel(measured, scenario);
  const capacity = workerCapacity(model, scenario);
  const runs = LOADS.map((load) => ({
    load,
    rows: counts.map((workers) => scalingRow(measured, scenario, { workers, load, capacity })),
  }));
  const isRecorded = values.measured === join(RECORDED, "machine.json");
  const validation = (isRecorded ? recordedLoads() : []).map((report) => ({
    report,
    simulated: simulatedLoad(measured, report, scenario.seed),
  }));
  if (values.plot !== undefined) writeFileSync(values.plot, drawScaling(runs));
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ measured, ...scenario, capacity, runs, validation })}\n`);
    return;
  }
  const parts = [
    asLine(measured.machine),
    `${measured.model}: ${asLine({ ...scenario })}`,
    `a worker makes at most ${capacity.toFixed(2)} images/s, ${(capacity / IMAGES_PER_JOB).toFixed(2)} jobs/s`,
    ...runs.flatMap(({ load, rows }) => [`\nload ${load} of the capacity\n`, scalingTable(rows)]),
    "",
    arithmetic(measured, scenario, model),
    "",
    reachTable(measured, scenario, model, capacity / IMAGES_PER_JOB),
    ...validation.flatMap(({ report, simulated }) => [
      `\nbeside the load bench with ${report.workers} worker(s): ${report.capacity.images_per_second} images/s measured, ${simulated.capacity.toFixed(2)} simulated on a machine of its own; below, slower by ${simulated.slower.toFixed(2)}\n`,
      validationTable(simulated),
    ]),
    "",
  ];
  process.stdout.write(parts.join("\n"));
}

if (values.help) {
  process.stdout.write(HELP);
} else {
  await main();
}
