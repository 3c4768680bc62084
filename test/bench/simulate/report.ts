// The simulation's results as tables and a plot.

import { drawCharts } from "../lines.ts";
import type { Measured } from "./measure.ts";
import { reachOf } from "./limits.ts";
import {
  aloneSeconds,
  averageCost,
  limitsOf,
  type ScalingRow,
  type Scenario,
  type simulatedLoad,
} from "./scaling.ts";
import type { WorkerModel } from "./worker.ts";

const table = (head: readonly string[], rows: readonly (readonly (string | number)[])[]): string =>
  [head, head.map(() => "--:"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

const whole = (value: number): string => Math.round(value).toLocaleString("en-US");
const seconds = (ms: number): string => (ms / 1_000).toFixed(2);
const percent = (share: number): string => `${Math.round(100 * share)} %`;

export function scalingTable(rows: readonly ScalingRow[]): string {
  return table(
    [
      "workers",
      "images/s",
      "jobs/s",
      "busy",
      "wait, s: p50",
      "p95",
      "p99",
      "stored messages/s",
      "MB/s",
      "of one nats-server",
      "hub events/s",
      "hubs",
    ],
    rows.map((row) => [
      row.workers,
      row.images_per_second.toFixed(1),
      row.jobs_per_second.toFixed(1),
      percent(row.utilization),
      seconds(row.wait_ms.p50),
      seconds(row.wait_ms.p95),
      seconds(row.wait_ms.p99),
      whole(row.stored_per_second),
      row.stored_mb_per_second.toFixed(1),
      percent(row.nats_share),
      whole(row.hub_events_per_second),
      row.hubs,
    ]),
  );
}

/** Passes of other durations than the measured one, ms for an image: what other machines may have. */
const OTHER_STEP_MS = [10, 3, 1];

/** How many workers one nats-server and one hub serve, by the time of a step. */
export function reachTable(
  measured: Measured,
  scenario: Scenario,
  model: WorkerModel,
  capacity: number,
): string {
  const stepMs = model.stepMs[0] ?? 1;
  const rows = [stepMs, ...OTHER_STEP_MS].map((ms) => {
    const scale = ms / stepMs;
    const cost = averageCost(
      measured,
      scenario,
      (images) => scale * aloneSeconds(model, scenario.steps, images),
    );
    // The whole worker is so much faster: its passes and its decoder.
    const jobsPerSecond = capacity / scale;
    const reach = reachOf({ ...cost.one, ...cost }, limitsOf(measured), jobsPerSecond);
    return [
      ms === stepMs ? `${ms} (measured)` : ms,
      jobsPerSecond.toFixed(2),
      whole(reach.natsJobsPerSecond),
      whole(reach.natsWorkers),
      whole(reach.hubJobsPerSecond),
      whole(reach.hubWorkers),
    ];
  });
  return table(
    [
      "step of one image, ms",
      "jobs/s of a worker",
      "nats-server full at jobs/s",
      "workers",
      "hub full at jobs/s",
      "workers",
    ],
    rows,
  );
}

export function arithmetic(measured: Measured, scenario: Scenario, model: WorkerModel): string {
  const cost = averageCost(measured, scenario, (images) => aloneSeconds(model, scenario.steps, images));
  const { nats, hub, job } = measured;
  const of = (
    name: string,
    { stored, storedBytes, inMessages, outMessages, hubEvents, hubRows }: typeof cost.one,
  ) => [name, stored, whole(storedBytes / 1_000), inMessages, outMessages, hubEvents, hubRows] as const;
  return [
    table(
      [
        `a job of ${scenario.steps} steps`,
        "stored messages",
        "kB",
        "messages in",
        "messages out",
        "hub events",
        "SQLite rows",
      ],
      [of("one image", cost.one), of("ten images", cost.ten)],
    ),
    "",
    `counted by nats-server, one image of ${job.steps} steps: ${job.stored} stored, ${job.in_messages} in, ${job.out_messages} out, ${whole(job.in_bytes / 1_000)} kB`,
    `measured: ${whole(nats.stored_per_second)} messages/s stored, ${whole(nats.stored_bytes_per_second / 1e6)} MB/s, confirmed in ${nats.round_trip_ms} ms; a hub: ${whole(hub.events_per_second)} events/s, ${hub.creates_per_second} creates/s`,
  ].join("\n");
}

/** The simulation beside what the load bench measured. */
export function validationTable({ levels }: ReturnType<typeof simulatedLoad>): string {
  const both = (measured: number, simulated: number, digits = 2): string =>
    Number.isFinite(measured) ? `${measured.toFixed(digits)} / ${simulated.toFixed(digits)}` : "";
  return table(
    ["load", "images/s: measured / simulated", "one image, p50, s", "p95", "ten images, p50, s", "p95"],
    levels.map(({ load, measured, ...simulated }) => [
      load,
      both(measured.images_per_second, simulated.images_per_second),
      both(measured.single.p50 / 1_000, simulated.single.p50 / 1_000),
      both(measured.single.p95 / 1_000, simulated.single.p95 / 1_000),
      both(measured.ten.p50 / 1_000, simulated.ten.p50 / 1_000),
      both(measured.ten.p95 / 1_000, simulated.ten.p95 / 1_000),
    ]),
  );
}

const [BLUE, ORANGE, GREEN] = ["#2e6fe8", "#e8862e", "#3a9c4e"];
const WORKER_TICKS = [1, 10, 100, 1_000];
/** A wait of less than this is none that anybody sees. */
const LEAST_WAIT_S = 0.001;

export function drawScaling(runs: readonly { load: number; rows: readonly ScalingRow[] }[]): string {
  const x = { label: "workers", ticks: WORKER_TICKS, log: true };
  const colors = [BLUE, ORANGE, GREEN];
  return drawCharts([
    {
      title: "Throughput",
      x,
      y: { label: "images a second", ticks: [0.1, 1, 10, 100, 1_000, 10_000], log: true },
      lines: runs.map(({ load, rows }, i) => ({
        label: `load ${load}`,
        color: colors[i % colors.length] ?? BLUE,
        points: rows.map((row) => [row.workers, row.images_per_second] as const),
      })),
    },
    {
      title: "From arrival to the first step, by load",
      x,
      y: { label: "seconds", ticks: [0.001, 0.01, 0.1, 1, 10, 100], log: true },
      lines: runs.flatMap(({ load, rows }, i) =>
        (["p50", "p95"] as const).map((quantile) => ({
          label: `${load}, ${quantile}`,
          color: colors[i % colors.length] ?? BLUE,
          dashed: quantile === "p95",
          points: rows.map(
            (row) => [row.workers, Math.max(LEAST_WAIT_S, row.wait_ms[quantile] / 1_000)] as const,
          ),
        })),
      ),
    },
  ]);
}
