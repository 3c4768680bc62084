// The load bench's figures as a table and as a plot.

import { drawCharts } from "../lines.ts";
import { asLine, type describeMachine } from "../machine.ts";
import type { Alone, Capacity, Level } from "./run.ts";

export interface LoadReport {
  readonly machine: ReturnType<typeof describeMachine>;
  readonly workers: number;
  readonly slots: number;
  readonly steps: number;
  readonly queueLimit: number;
  readonly seed: number;
  readonly alone: Alone;
  readonly capacity: Capacity;
  readonly levels: readonly Level[];
}

const counts = (record: Readonly<Record<string, number>>): string =>
  Object.entries(record)
    .map(([what, count]) => `${count} x ${what}`)
    .join(", ") || "0";

const seconds = (ms: number): string => (Number.isFinite(ms) ? (ms / 1_000).toFixed(2) : "");

export function loadTable(report: LoadReport): string {
  const { machine, workers, slots, steps, queueLimit, alone, capacity, levels } = report;
  const row = (level: Level): string => {
    const { single, ten } = level;
    const cells = [
      level.load,
      level.offered_images_per_second.toFixed(2),
      level.images_per_second.toFixed(2),
      `${Math.round(100 * level.of_capacity)} %`,
      `${seconds(single.p50)} / ${seconds(single.p95)}`,
      `${seconds(ten.p50)} / ${seconds(ten.p95)}`,
      level.accepted,
      counts(level.refused),
      counts(level.errors),
      `${single.slowdown} / ${ten.slowdown}`,
      `${level.jain_served} / ${level.jain_slowdown}`,
    ];
    return `| ${cells.join(" | ")} |`;
  };
  return [
    asLine(machine),
    asLine({ workers, slots, steps, queue: queueLimit }),
    `alone: a single image ${seconds(alone.single_ms)} s, ten ${seconds(alone.ten_ms)} s`,
    `capacity: ${capacity.images_per_second} images/s, ${capacity.jobs_per_second} jobs/s`,
    "",
    "| load | offered, images/s | made | of capacity | one image, s: p50 / p95 | ten: p50 / p95 | accepted | refused | errors | slowdown: one / ten | Jain: served / slowdown |",
    "| --: | --: | --: | --: | --: | --: | --: | --- | --- | --: | --: |",
    ...levels.map(row),
    "",
  ].join("\n");
}

const [BLUE, ORANGE, GREY] = ["#2e6fe8", "#e8862e", "#888888"];
const LOAD_TICKS = [0, 0.5, 1, 1.5, 2, 2.5, 3];

/** Ticks from 0 to just beyond the largest value. */
function ticksUpTo(largest: number): number[] {
  const step = [0.5, 1, 2, 5, 10, 20].find((size) => largest / size <= 6) ?? largest / 6;
  return Array.from({ length: Math.ceil(largest / step) + 1 }, (_, i) => i * step);
}

export function drawLoad({ levels }: LoadReport): string {
  const curve = (of: (level: Level) => number): [number, number][] =>
    levels.map((level) => [level.load, of(level)] as [number, number]).filter(([, y]) => Number.isFinite(y));
  const x = { label: "offered load, as a multiple of the capacity", ticks: LOAD_TICKS };
  const p95 = Math.max(...levels.flatMap(({ single, ten }) => [single.p95, ten.p95]).filter(Number.isFinite));
  return drawCharts([
    {
      title: "Throughput and refusals",
      x,
      y: { label: "share", ticks: [0, 0.2, 0.4, 0.6, 0.8, 1, 1.2] },
      lines: [
        { label: "made, of capacity", color: BLUE, points: curve((level) => level.of_capacity) },
        {
          label: "refused, of offered",
          color: ORANGE,
          points: curve(({ accepted, jobs }) => 1 - accepted / jobs),
        },
        {
          label: "ideal",
          color: GREY,
          dashed: true,
          points: [
            [0, 0],
            [1, 1],
            [3, 1],
          ],
        },
      ],
    },
    {
      title: "Latency of accepted jobs",
      x,
      y: { label: "seconds", ticks: ticksUpTo(p95 / 1_000) },
      lines: [
        { label: "one image, p50", color: BLUE, points: curve(({ single }) => single.p50 / 1_000) },
        { label: "p95", color: BLUE, dashed: true, points: curve(({ single }) => single.p95 / 1_000) },
        { label: "ten images, p50", color: ORANGE, points: curve(({ ten }) => ten.p50 / 1_000) },
        { label: "p95", color: ORANGE, dashed: true, points: curve(({ ten }) => ten.p95 / 1_000) },
      ],
    },
  ]);
}
