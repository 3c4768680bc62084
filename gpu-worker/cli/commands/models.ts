// `vqd models`: lists the versions of models, and decides which of them serve.

import { setTimeout as delay } from "node:timers/promises";
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "nats";
import { modelKey, modelNameSchema, VERSION_PATTERN } from "@vqd/shared/model.ts";
import { MAX_SHARES, MAX_WEIGHT, type ModelRoute, type Share, shareOf } from "@vqd/shared/routing/route.ts";
import { API_DOMAIN } from "@vqd/shared/subjects.ts";
import { executeQueuePlan, planQueues } from "../../ops/queues.ts";
import {
  decisionsOf,
  readRoute,
  type StoredRoute,
  withoutVersion,
  withShares,
  writeRoute,
} from "../../ops/routes.ts";
import { announcedVersions, listVersions, queuedJobs, removeVersion } from "../../ops/versions.ts";
import { askWorkers } from "../../ops/workers.ts";
import { type Command, numberOption, report, stringOptions, UsageError } from "../command.ts";
import { connectAs, NATS_HELP, settingsFor } from "../nats-connection.ts";
import { currentUser } from "../../util/current-user.ts";
import { tableOf } from "../table.ts";

const USAGE =
  "vqd models list | promote NAME VERSION | split NAME VERSION=N ... | retire NAME VERSION | log NAME";
const MIN_PREFIX = 6;
const DIGITS = 12;
const DEFAULT_WAIT_MS = 500;
/** By then all edges have heard that a version is retired: they ask their hub every three seconds. */
const HEARD_MS = 4_000;

const help = `Usage: vqd models list [options]
       vqd models promote NAME VERSION [options]
       vqd models split NAME VERSION=N VERSION=N ... [options]
       vqd models retire NAME VERSION [options]
       vqd models log NAME [options]

Decides which versions of a model serve requests for its name (owner/name). Announcing a version changes nothing, unless
it is the first of its name. A VERSION is its 64 digits, or the first ones: at least ${MIN_PREFIX}, and enough to tell it from others.

  list       shows the versions with their share of the requests, live workers, and jobs that wait and run in their
             queues; needs the monitor's credentials
  promote    gives the version all requests for the name; one that was retired is served again
  split      divides the requests in proportion to the numbers, whole ones from 1 to ${MAX_WEIGHT}, such as 90 and 10
  retire     ends a version for good: it must have no share, and no job in its queues. Requests for it are refused, and its
             queues and announcement are removed. Takes some seconds
  log        shows the last 16 decisions about the name: when, by which user of a machine, and what has served since

All but list need the operator's credentials. Each that decides refuses to overwrite what somebody else has changed meanwhile.
${NATS_HELP}
Options:
  --force            give a share to a version that no worker has announced
  --data DIR         data folder of npm start (VQD_DATA)                              [.vqd]
  --wait MS          how long list waits for workers to answer, 50 to 60000            [${DEFAULT_WAIT_MS}]
  --json             JSON instead of text
  -h, --help         this text
`;

type Flags = ReadonlySet<string>;

export const models: Command = {
  summary: "list the versions of models, and decide which of them serve",
  help,
  options: {
    ...stringOptions("data", "wait"),
    json: { type: "boolean" },
    force: { type: "boolean" },
  },
  async run([action, ...rest], values, flags) {
    const waitMs = numberOption(values, "wait", { min: 50, max: 60_000 }) ?? DEFAULT_WAIT_MS;
    const { data } = values;
    const isGiven = (option: string): boolean => values[option] !== undefined || flags.has(option);
    for (const option of ["wait", "force"]) {
      const takesIt = option === "wait" ? action === "list" : action === "promote" || action === "split";
      if (isGiven(option) && !takesIt) throw new UsageError(`--${option} has no effect here: ${USAGE}`);
    }
    if (action === "list") {
      if (rest.length > 0) throw new UsageError(`unexpected argument ${JSON.stringify(rest[0])}: ${USAGE}`);
      return connected("monitor", data, (nc) => list(nc, waitMs, flags));
    }
    if (action === "log") {
      const [name, ...more] = rest;
      if (name === undefined || more.length > 0) throw new UsageError(`log takes a NAME: ${USAGE}`);
      checkName(name);
      return connected("operator", data, (nc) => log(nc, name, flags));
    }
    if (action !== "promote" && action !== "split" && action !== "retire") {
      const what = action === undefined ? "an action is missing" : `unknown action ${JSON.stringify(action)}`;
      throw new UsageError(`${what}: ${USAGE}`);
    }
    const [name, ...wanted] = rest;
    if (name === undefined || wanted.length === 0)
      throw new UsageError(`${name === undefined ? "NAME" : "VERSION"} is missing: ${USAGE}`);
    checkName(name);
    if (action !== "split" && wanted.length > 1)
      throw new UsageError(`unexpected argument ${JSON.stringify(wanted[1])}: ${USAGE}`);
    const weights = action === "split" ? wanted.map(readWeight) : [{ prefix: wanted[0] ?? "", weight: 1 }];
    if (weights.length > MAX_SHARES) throw new UsageError(`at most ${MAX_SHARES} versions can share a name`);
    for (const { prefix } of weights) checkPrefix(prefix);
    return connected("operator", data, async (nc) => {
      const jsm = await jetstreamManager(nc, { checkAPI: false });
      if (action === "retire") await retire(jsm, name, weights[0]?.prefix ?? "", flags);
      else await giveShares(jsm, name, weights, flags);
    });
  },
};

async function connected(
  user: "monitor" | "operator",
  data: string | undefined,
  work: (nc: NatsConnection) => Promise<void>,
): Promise<void> {
  const nc = await connectAs(user, settingsFor(user, data), "vqd models");
  try {
    await work(nc);
  } finally {
    await nc.close();
  }
}

function checkName(name: string): void {
  const { error } = modelNameSchema.safeParse(name);
  if (error !== undefined)
    throw new UsageError(`NAME ${error.issues[0]?.message}, not ${JSON.stringify(name)}`);
}

interface Weight {
  readonly prefix: string;
  readonly weight: number;
}

function readWeight(text: string): Weight {
  const [prefix = "", digits = "", ...more] = text.split("=");
  const weight = /^\d+$/.test(digits) ? Number(digits) : Number.NaN;
  if (more.length === 0 && weight >= 1 && weight <= MAX_WEIGHT) return { prefix, weight };
  throw new UsageError(
    `${JSON.stringify(text)} must be VERSION=N, with a whole number from 1 to ${MAX_WEIGHT}: ${USAGE}`,
  );
}

function checkPrefix(prefix: string): void {
  if (new RegExp(`^[0-9a-f]{${MIN_PREFIX},64}$`).test(prefix)) return;
  throw new UsageError(
    `VERSION must be the first ${MIN_PREFIX} or more of its 64 hexadecimal digits, not ${JSON.stringify(prefix)}`,
  );
}

async function list(nc: NatsConnection, waitMs: number, flags: Flags): Promise<void> {
  const jsm = await jetstreamManager(nc, { checkAPI: false, domain: API_DOMAIN });
  const [versions, workers] = await Promise.all([listVersions(jsm), askWorkers(nc, waitMs)]);
  const listed = versions.map(({ name, version, share, retired, announcedAt, jobs }) => ({
    name,
    version,
    share,
    retired,
    announcedAt,
    workers: workers.filter((one) => one.model === name && one.version === version).length,
    waiting: jobs?.waiting ?? null,
    running: jobs?.running ?? null,
  }));
  if (flags.has("json")) report(`${JSON.stringify(listed)}\n`);
  else if (listed.length === 0) report("no worker has announced a model\n");
  else {
    const rows = listed.map((one) => [
      one.name,
      one.version.slice(0, DIGITS),
      one.retired ? "retired" : percent(one.share),
      `${one.workers}`,
      one.waiting === null ? "no queue" : `${one.waiting}`,
      one.running === null ? "no queue" : `${one.running}`,
      one.announcedAt?.toISOString() ?? "never",
    ]);
    report(tableOf(["NAME", "VERSION", "SHARE", "WORKERS", "WAITING", "RUNNING", "ANNOUNCED"], rows));
  }
}

async function log(nc: NatsConnection, name: string, flags: Flags): Promise<void> {
  const decisions = await decisionsOf(await jetstreamManager(nc, { checkAPI: false }), name);
  if (flags.has("json")) report(`${JSON.stringify(decisions)}\n`);
  else if (decisions.length === 0) report(`nothing has been decided about ${name}\n`);
  else {
    const rows = decisions.map(({ at, by, route }) => [
      at.toISOString(),
      by ?? "-",
      route === undefined ? "unreadable" : sharesOf(route),
      (route?.retired ?? []).map((version) => version.slice(0, DIGITS)).join(", ") || "-",
    ]);
    report(tableOf(["AT", "BY", "SERVES", "RETIRED"], rows));
  }
}

/** Gives the versions their shares, all others none. */
async function giveShares(
  jsm: JetStreamManager,
  name: string,
  weights: readonly Weight[],
  flags: Flags,
): Promise<void> {
  const stored = await readRoute(jsm, name);
  const { announced, known } = await versionsOf(jsm, stored);
  // All digits of a version that is not known yet are accepted, with --force.
  const shares = weights.map(({ prefix, weight }): Share => ({
    version: VERSION_PATTERN.test(prefix) ? prefix : find(name, prefix, known),
    weight,
  }));
  const twice = shares.find(({ version }, i) => shares.findIndex((one) => one.version === version) < i);
  if (twice !== undefined) throw new UsageError(`version ${twice.version.slice(0, DIGITS)} is given twice`);
  const unheard = shares.find(({ version }) => !announced.includes(version));
  if (unheard !== undefined && !flags.has("force")) {
    throw new Error(
      `no worker has announced version ${unheard.version.slice(0, DIGITS)} of ${name}: start one first, or use --force`,
    );
  }
  // Those of a version that was retired are gone, and without them no worker of it can start.
  const keys = shares.map(({ version }) => modelKey({ name, version }));
  const queues = await planQueues(jsm, { models: keys });
  await executeQueuePlan(
    jsm,
    queues.filter(({ action }) => action === "create"),
  );
  const route = withShares(stored, shares);
  await writeRoute(jsm, stored, route, currentUser());
  reportRoute(route, flags);
}

async function retire(jsm: JetStreamManager, name: string, prefix: string, flags: Flags): Promise<void> {
  const stored = await readRoute(jsm, name);
  const version = find(name, prefix, (await versionsOf(jsm, stored)).known);
  const what = `version ${version.slice(0, DIGITS)} of ${name}`;
  const { route } = stored;
  if (route === undefined)
    throw new Error(`${name} has no route yet: promote the version that is to serve it first`);
  const part = shareOf(route, version);
  if (part > 0)
    throw new Error(`${what} gets ${percent(part)} of the requests: promote another version first`);
  await refuseWhileBusy(jsm, { name, version }, `${what} cannot be retired yet`);
  const retired = withoutVersion(route, version);
  await writeRoute(jsm, stored, retired, currentUser());
  await delay(HEARD_MS);
  const how = "repeat the command when they have ended, to remove its queues";
  await refuseWhileBusy(jsm, { name, version }, `${what} is retired, but was still asked for: ${how}`);
  await removeVersion(jsm, { name, version });
  report(flags.has("json") ? `${JSON.stringify(retired)}\n` : `${what} is retired\n`);
}

async function refuseWhileBusy(
  jsm: JetStreamManager,
  version: { name: string; version: string },
  what: string,
): Promise<void> {
  const { waiting, running } = (await queuedJobs(jsm, version)) ?? { waiting: 0, running: 0 };
  if (waiting + running > 0) throw new Error(`${what}: ${waiting} of its jobs wait and ${running} run`);
}

/** Versions that may be meant: announced ones, and those in the route. */
async function versionsOf(
  jsm: JetStreamManager,
  { name, route }: StoredRoute,
): Promise<{ announced: string[]; known: string[] }> {
  const all = await announcedVersions(jsm);
  const announced = all.filter((one) => one.name === name).map(({ version }) => version);
  const routed = [...(route?.shares.map(({ version }) => version) ?? []), ...(route?.retired ?? [])];
  return { announced, known: [...new Set([...announced, ...routed])] };
}

/** The known version that begins like this. */
function find(name: string, prefix: string, known: readonly string[]): string {
  const found = known.filter((version) => version.startsWith(prefix));
  const [version] = found;
  if (found.length > 1) {
    const which = found.map((one) => one.slice(0, prefix.length + MIN_PREFIX)).join(", ");
    throw new Error(`several versions of ${name} begin with ${prefix}: ${which}`);
  }
  if (version !== undefined) return version;
  throw new Error(`no version of ${name} begins with ${prefix}: vqd models list shows them`);
}

function reportRoute(route: ModelRoute, flags: Flags): void {
  if (flags.has("json")) report(`${JSON.stringify(route)}\n`);
  else report(`${route.name}: ${sharesOf(route)}\n`);
}

const sharesOf = (route: ModelRoute): string =>
  route.shares
    .map(({ version }) => `${version.slice(0, DIGITS)} ${percent(shareOf(route, version))}`)
    .join(", ");

const percent = (share: number): string => `${Math.round(share * 1_000) / 10}%`;
