// `vqd workers`: the live workers, as they answer over NATS, and how long their models' queues are.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect, createInbox, type NatsConnection } from "nats";
import { z } from "zod";
import { MICRO_SERVICE, statsResponseSchema, type WorkerStats } from "@vqd/shared/micro.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { INBOX_PREFIX, jobConsumer, PRIORITIES, STREAMS } from "@vqd/shared/subjects.ts";
import { type Command, numberOption, readArguments, stringOptions, UsageError } from "./command.ts";

const USAGE = "vqd workers [options]";
const DEFAULT_DATA = join(import.meta.dirname, "..", "..", ".vqd");
const DEFAULT_WAIT_MS = 500;
const CONNECT_LIMIT_MS = 5_000;

const help = `Usage: ${USAGE}

Lists the live workers: model, slots, step time, jobs, uptime, and how many jobs wait for their model.
Asks the NATS of VQD_NATS_URL as VQD_NATS_USER [monitor] with VQD_NATS_PASSWORD, else that of npm start.

Options:
  --data DIR         data folder of npm start (VQD_DATA)                              [.vqd]
  --wait MS          how long to listen for answers, 50 to 60000                       [${DEFAULT_WAIT_MS}]
  --json             JSON instead of a table
  -h, --help         this text
`;

interface Server {
  readonly url: string;
  readonly user: string;
  readonly password: string | undefined;
}

interface Listed extends WorkerStats {
  readonly id: string;
  /** Jobs that wait for the model, all its workers together; null if that cannot be asked. */
  readonly queued: number | null;
}

const configSchema = z.object({ port: z.int() });
const passwordsSchema = z.object({ monitor: z.string() });

export const workers: Command = {
  summary: "list the live workers",
  help,
  options: { ...stringOptions("data", "wait"), json: { type: "boolean" } },
  async run(positionals, values, flags) {
    readArguments(positionals, USAGE, []);
    const waitMs = numberOption(values, "wait", { min: 50, max: 60_000 }) ?? DEFAULT_WAIT_MS;
    const { url, user, password } = serverOf(values["data"]);
    const nc = await connect({
      servers: url,
      user,
      ...(password === undefined ? {} : { pass: password }),
      name: "vqd workers",
      inboxPrefix: INBOX_PREFIX.monitor,
      timeout: CONNECT_LIMIT_MS,
      reconnect: false,
    }).catch((cause: unknown) => {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`cannot connect to ${url} as ${user}: ${reason}`, { cause });
    });
    try {
      const listed = await withQueues(nc, await askWorkers(nc, waitMs));
      process.stdout.write(flags.has("json") ? `${JSON.stringify(listed)}\n` : table(listed));
    } finally {
      await nc.close();
    }
  },
};

/** From the environment if it names a server, else what `npm start` wrote into its data folder. */
function serverOf(data: string | undefined): Server {
  const { env } = process;
  if (data === undefined && env["VQD_NATS_URL"]) {
    const password = env["VQD_NATS_PASSWORD"] || undefined;
    return { url: env["VQD_NATS_URL"], user: env["VQD_NATS_USER"] || "monitor", password };
  }
  const folder = join(data ?? (env["VQD_DATA"] || DEFAULT_DATA), "nats");
  const read = <T>(file: string, schema: z.ZodType<T>): T => {
    const path = join(folder, file);
    if (!existsSync(path)) {
      throw new UsageError(`${path} is not there: give VQD_NATS_URL, or --data with the folder of npm start`);
    }
    try {
      return schema.parse(JSON.parse(readFileSync(path, "utf8")));
    } catch (cause) {
      throw new Error(`${path} says no server or password; a newer npm start writes it anew`, { cause });
    }
  };
  const { port } = read("nats-server.conf", configSchema);
  const { monitor } = read("passwords.json", passwordsSchema);
  return { url: `nats://127.0.0.1:${port}`, user: "monitor", password: monitor };
}

/** One entry for each model of each worker. */
async function askWorkers(nc: NatsConnection, waitMs: number): Promise<(WorkerStats & { id: string })[]> {
  const found: (WorkerStats & { id: string })[] = [];
  const inbox = createInbox(INBOX_PREFIX.monitor);
  const answers = nc.subscribe(inbox, { timeout: waitMs });
  nc.publish(`$SRV.STATS.${MICRO_SERVICE}`, undefined, { reply: inbox });
  const closing = setTimeout(() => answers.unsubscribe(), waitMs);
  try {
    for await (const answer of answers) {
      // The server's word that nobody listens.
      if (answer.headers?.code === 503) break;
      const parsed = statsResponseSchema.safeParse(safeJson(answer.string()));
      if (!parsed.success) continue;
      const { id, endpoints } = parsed.data;
      for (const { data } of endpoints) found.push({ id, ...data });
    }
  } catch (error) {
    // No answer in time is an empty list.
    if (!(error instanceof Error && error.name === "TimeoutError")) throw error;
  } finally {
    clearTimeout(closing);
  }
  return found.toSorted((a, b) => `${a.model} ${a.worker}`.localeCompare(`${b.model} ${b.worker}`));
}

const keyOf = ({ model, version }: WorkerStats): string => modelKey({ name: model, version });

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function withQueues(
  nc: NatsConnection,
  found: readonly (WorkerStats & { id: string })[],
): Promise<Listed[]> {
  const jsm = await jetstreamManager(nc, { checkAPI: false });
  const queues = new Map<string, number | null>();
  for (const stats of found) {
    const key = keyOf(stats);
    if (queues.has(key)) continue;
    const pending = await Promise.all(
      PRIORITIES.map((priority) =>
        jsm.consumers.info(STREAMS.jobs, jobConsumer(key, priority)).then(
          (info) => info.num_pending,
          () => null,
        ),
      ),
    );
    const known = pending.filter((count) => count !== null);
    queues.set(key, known.length === 0 ? null : known.reduce((sum, count) => sum + count, 0));
  }
  return found.map((stats) => ({ ...stats, queued: queues.get(keyOf(stats)) ?? null }));
}

function table(listed: readonly Listed[]): string {
  if (listed.length === 0) return "no workers answered\n";
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
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd();
  return `${[head, ...rows].map(line).join("\n")}\n`;
}

function duration(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
