// `vqd streams apply`: brings the JetStream streams up to date, after showing what will change.

import { createInterface } from "node:readline/promises";
import { jetstreamManager } from "@nats-io/jetstream";
import { executeQueuePlan, planQueues } from "../../ops/queues.ts";
import { describePlan, executePlan, immutableChanges, planStreams } from "../../ops/streams.ts";
import { DEFAULT_CACHE_DIR } from "../../config.ts";
import { keysOfModels } from "../../serving/model-key.ts";
import { type Command, numberOption, readArguments, report, stringOptions, UsageError } from "../command.ts";
import { connectAs, NATS_HELP, settingsFor } from "../nats-connection.ts";

const USAGE = "vqd streams apply [options]";
const REPLICAS = [1, 3, 5];
const MAX_QUEUE = 1_000_000;
const MAX_LEASE_SECONDS = 600;
const MAX_EVENTS_MIB = 1024 ** 2;
const MAX_EVENTS_HOURS = 168;

const help = `Usage: ${USAGE}

Creates missing streams and updates those whose settings differ from this release's, keeping their messages; and
creates the queues of models, which workers cannot. Shows the changes first and asks for confirmation; safe to repeat.
Run it with the operator's credentials once for a new NATS, for each new version of a model, and before upgrading
workers and edge.
${NATS_HELP}
Options:
  --model LIST       models to create queues for: keys (owner--name--12 digits) or checkpoint folders, each
                     served as vqd/FOLDER, or as owner/name with owner/name=FOLDER; comma separated
  --lease-seconds N  how long a worker may be silent before its job goes to another   [unchanged; new queues: 10]
  --replicas N       servers that hold each message: 1, 3 or 5   [unchanged; new streams: 3 in a cluster, else 1]
  --queue-limit N    jobs that may wait or run at once           [unchanged; new streams: 1000]
  --model-limit N    the same of one version of a model with one priority, so that a model whose workers are away
                     leaves room for others; 0: none             [unchanged; new streams: none]
  --events-mib N     MiB of events that are kept: a hub that is further behind loses some   [unchanged; 1024]
  --events-hours N   hours that they are kept                    [unchanged; new streams: 1]
  --dry-run          only show the changes; exit code 3 if there are any
  --yes              do not ask for confirmation
  --data DIR         data folder of npm start (VQD_DATA)                              [.vqd]
  --cache DIR        folder with the digests of checkpoints (VQD_CACHE)         [.vqd/cache]
  -h, --help         this text
`;

/** Exit code of --dry-run if there is something to change. */
const EXIT_CHANGES = 3;

export const streams: Command = {
  summary: "create the streams, or bring them up to date",
  help,
  options: {
    ...stringOptions(
      "replicas",
      "queue-limit",
      "model-limit",
      "events-mib",
      "events-hours",
      "model",
      "lease-seconds",
      "data",
      "cache",
    ),
    "dry-run": { type: "boolean" },
    yes: { type: "boolean" },
  },
  async run(positionals, values, flags) {
    const [action] = readArguments(positionals, USAGE, ["apply"]);
    if (action !== "apply") throw new UsageError(`unknown action ${JSON.stringify(action)}: ${USAGE}`);
    const replicas = numberOption(values, "replicas", { min: 1, max: 5, integer: true });
    if (replicas !== undefined && !REPLICAS.includes(replicas)) {
      throw new UsageError(`--replicas must be one of ${REPLICAS.join(", ")}, not ${replicas}`);
    }
    const queueLimit = numberOption(values, "queue-limit", { min: 1, max: MAX_QUEUE, integer: true });
    const modelQueueLimit = numberOption(values, "model-limit", { min: 0, max: MAX_QUEUE, integer: true });
    const eventsMib = numberOption(values, "events-mib", { min: 16, max: MAX_EVENTS_MIB, integer: true });
    const eventsHours = numberOption(values, "events-hours", { min: 0.1, max: MAX_EVENTS_HOURS });
    const leaseSeconds = numberOption(values, "lease-seconds", { min: 1, max: MAX_LEASE_SECONDS });
    const models = keysOfModels(
      values["model"] ?? "",
      values["cache"] ?? (process.env["VQD_CACHE"] || DEFAULT_CACHE_DIR),
    );
    if (leaseSeconds !== undefined && models.length === 0)
      throw new UsageError("--lease-seconds needs --model");
    const leaseMs = leaseSeconds === undefined ? undefined : Math.round(leaseSeconds * 1_000);
    const nc = await connectAs("operator", settingsFor("operator", values["data"]), "vqd streams");
    try {
      const jsm = await jetstreamManager(nc, { checkAPI: false });
      const sizes = { replicas, queueLimit, modelQueueLimit, eventsMib, eventsHours };
      const plan = await planStreams(jsm, sizes, nc.info?.cluster !== undefined);
      const queues = await planQueues(jsm, { models, leaseMs });
      report(describePlan([...plan, ...queues]));
      const impossible = immutableChanges(plan);
      if (impossible.length > 0) {
        throw new Error(
          `NATS cannot change this in place: ${impossible.join("; ")}. Let the queue drain, delete the stream and apply again`,
        );
      }
      const changes = [...plan, ...queues].filter(({ action: todo }) => todo !== "keep").length;
      if (changes === 0) return;
      if (flags.has("dry-run")) {
        process.exitCode = EXIT_CHANGES;
        return;
      }
      if (!flags.has("yes") && !(await confirm(`apply ${changes} changes? [y/N] `))) {
        throw new Error("nothing changed");
      }
      await executePlan(jsm, plan);
      await executeQueuePlan(jsm, queues);
      process.stdout.write("applied\n");
    } finally {
      await nc.close();
    }
  },
};

async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY)
    throw new UsageError("cannot ask for confirmation without a terminal: use --yes, or --dry-run to look");
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await prompt.question(question)).trim());
  } finally {
    prompt.close();
  }
}
