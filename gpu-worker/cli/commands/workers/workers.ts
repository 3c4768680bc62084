// `vqd workers`: lists the workers that answer over NATS, and the lengths of their models' queues.

import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "nats";
import type { WorkerStats } from "@vqd/shared/nats/micro.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { API_DOMAIN } from "@vqd/shared/subjects.ts";
import { queuedJobs } from "../../../ops/versions.ts";
import { type AnsweringWorker, askWorkers } from "../../../ops/workers.ts";
import { type Command, numberOption, readArguments, report, stringOptions } from "../../command.ts";
import { connectAs, NATS_HELP, settingsFor } from "../../nats-connection.ts";
import { tableOf } from "../../table.ts";

const USAGE = "vqd workers [options]";
const DEFAULT_WAIT_MS = 500;

const help = `Usage: ${USAGE}

Lists the live workers: model, slots, step time, jobs, uptime, and the number of jobs queued for their model.
${NATS_HELP}
Options:
  --data DIR         data folder of npm start (VQD_DATA)                              [.vqd]
  --wait MS          how long to wait for answers, 50 to 60000                         [${DEFAULT_WAIT_MS}]
  --json             JSON instead of a table
  -h, --help         this text
`;

interface Listed extends AnsweringWorker {
  /** Jobs queued for the model, across all its workers; null if unknown. */
  readonly queued: number | null;
}

export const workers: Command = {
  summary: "list the live workers",
  help,
  options: { ...stringOptions("data", "wait"), json: { type: "boolean" } },
  async run(positionals, values, flags) {
    readArguments(positionals, USAGE, []);
    const waitMs = numberOption(values, "wait", { min: 50, max: 60_000 }) ?? DEFAULT_WAIT_MS;
    const nc = await connectAs("monitor", settingsFor("monitor", values["data"]), "vqd workers");
    try {
      const listed = await withQueues(nc, await askWorkers(nc, waitMs));
      report(flags.has("json") ? `${JSON.stringify(listed)}\n` : table(listed));
    } finally {
      await nc.close();
    }
  },
};

const keyOf = ({ model, version }: WorkerStats): string => modelKey({ name: model, version });

async function withQueues(nc: NatsConnection, found: readonly AnsweringWorker[]): Promise<Listed[]> {
  const jsm = await jetstreamManager(nc, { checkAPI: false, domain: API_DOMAIN });
  const queues = new Map<string, number | null>();
  for (const stats of found) {
    const key = keyOf(stats);
    if (queues.has(key)) continue;
    const jobs = await queuedJobs(jsm, { name: stats.model, version: stats.version }).catch(() => null);
    queues.set(key, jobs?.waiting ?? null);
  }
  return found.map((stats) => ({ ...stats, queued: queues.get(keyOf(stats)) ?? null }));
}

function table(listed: readonly Listed[]): string {
  if (listed.length === 0) return "no worker answered\n";
  const head = [
    "WORKER",
    "STATUS",
    "MODEL",
    "VERSION",
    "ON",
    "SLOTS",
    "STEP MS",
    "JOBS",
    "FAILED",
    "QUEUED",
    "UP",
  ];
  const rows = listed.map((one) => [
    one.worker,
    one.status,
    one.model,
    one.version.slice(0, 12),
    `${one.provider}/${one.quantization}`,
    `${one.busySlots}/${one.slots}`,
    one.loaded ? one.stepMs.toFixed(1) : "not loaded",
    `${one.jobs}`,
    `${one.failedJobs}`,
    one.queued === null ? "?" : `${one.queued}`,
    duration(one.uptimeSeconds),
  ]);
  const measured = listed.flatMap(({ worker, model, slotTimes = [], batchInvariant }) => {
    const found = [
      ...(slotTimes.length === 0 ? [] : [`ms of a pass by images: ${timesOf(slotTimes)}`]),
      ...(batchInvariant === undefined ? [] : [`batch_invariant: ${batchInvariant}`]),
    ];
    return found.length === 0 ? [] : [`${worker}, ${model}: ${found.join("; ")}`];
  });
  return [tableOf(head, rows), ...measured.map((line) => `${line}\n`)].join("");
}

const timesOf = (times: NonNullable<Listed["slotTimes"]>): string =>
  times.map(({ images, ms }) => `${images}: ${ms?.toFixed(1) ?? "no memory"}`).join(", ");

function duration(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
