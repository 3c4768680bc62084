// Checks of a worker's machine: settings, model, provider and disk, and its NATS permissions.

import { accessSync, constants, existsSync, mkdtempSync, rmSync, statfsSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { JetStreamApiCodes, JetStreamApiError, jetstreamManager } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "nats";
import { modelKey } from "@vqd/shared/model.ts";
import {
  API_DOMAIN,
  controlSubject,
  eventSubject,
  INBOX_PREFIX,
  jobConsumer,
  modelSubject,
  PRIORITIES,
  stateSubject,
  STREAMS,
} from "@vqd/shared/subjects.ts";
import { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { inspectCheckpoint } from "../checkpoint/inspect.ts";
import type { WorkerConfig } from "../config.ts";
import { GraphBuilder } from "../graph/onnx.ts";
import { defaultModelName } from "../serving/manifest.ts";
import { floatTensor, Session } from "../runtime/session.ts";
import { type Findings, reasonOf } from "./findings.ts";
import type { ServedVersion } from "./workers.ts";

const GIB = 1024 ** 3;
const ID = "00000000000000000000000000";
const API = `$JS.${API_DOMAIN}.API`;

/** `minFreeGib` is the space that must be free for graphs. Returns the models that the worker would serve. */
export async function checkWorkerMachine(
  findings: Findings,
  config: WorkerConfig,
  minFreeGib: number,
): Promise<ServedVersion[]> {
  checkDisk(findings, resolve(config.cacheDir), minFreeGib);
  await checkProvider(findings, config);
  return config.models.flatMap(({ dir, name }) => checkModel(findings, dir, name ?? defaultModelName(dir)));
}

function checkModel(findings: Findings, dir: string, name: string): ServedVersion[] {
  try {
    const { problems } = inspectCheckpoint(dir);
    for (const problem of problems)
      findings.problem("worker.model", problem, `vqd inspect ${dir} shows the details`);
    if (problems.length > 0) return [];
    const version = new DiffusersCheckpoint(dir).version();
    findings.ok("worker.model", `${name} in ${dir} is version ${version.slice(0, 12)}`);
    return [{ name, version }];
  } catch (error) {
    findings.problem("worker.model", reasonOf(error), "VQD_MODEL must name a checkpoint folder");
    return [];
  }
}

/** Checks that the models here are the ones served elsewhere under the same names. */
export function compareVersions(
  findings: Findings,
  own: readonly ServedVersion[],
  others: readonly ServedVersion[],
  where: string,
): void {
  for (const { name, version } of own) {
    const versions = new Set(others.filter((other) => other.name === name).map((other) => other.version));
    if (versions.size === 0 || versions.has(version)) continue;
    findings.problem(
      "worker.version",
      `${name} here is version ${version.slice(0, 12)}, ${where} ${[...versions].map((other) => other.slice(0, 12)).join(", ")}`,
      "each version of a name has a queue of its own; copy the same files, or give this model another name",
    );
  }
}

/** The folder itself, or the existing one in which it would be created: checking that one changes nothing. */
function nearestFolder(path: string): string {
  if (!existsSync(path)) return nearestFolder(dirname(path));
  if (!statSync(path).isDirectory()) throw new Error(`${path} is not a folder`);
  return path;
}

function checkDisk(findings: Findings, cacheDir: string, minFreeGib: number): void {
  try {
    const folder = nearestFolder(cacheDir);
    accessSync(folder, constants.W_OK);
    const { bavail, bsize } = statfsSync(folder);
    const free = (bavail * bsize) / GIB;
    const message = `${free.toFixed(1)} GiB free in ${cacheDir}`;
    if (free < minFreeGib) {
      findings.problem(
        "worker.disk",
        `${message}, less than ${minFreeGib}`,
        "free some space, or point VQD_CACHE elsewhere",
      );
    } else findings.ok("worker.disk", message);
  } catch (error) {
    findings.problem("worker.disk", `VQD_CACHE is not writable: ${reasonOf(error)}`);
  }
}

/** Runs a graph with a single operator on the provider. */
async function checkProvider(
  findings: Findings,
  { provider, threads }: Pick<WorkerConfig, "provider" | "threads">,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "vqd-doctor-"));
  try {
    const path = join(dir, "probe.onnx");
    const graph = new GraphBuilder("probe", path);
    const x = graph.input("x", "float32", [2]);
    graph.output("output", "float32", [2], graph.op("Add", [x, x]));
    graph.finish();
    const session = await Session.create(path, { provider, threads });
    try {
      const sum = await session.run({ x: floatTensor(Float32Array.of(1, 2), [2]) }, "output");
      if (String(sum.data) !== "2,4") throw new Error(`it computes 1 + 1 and 2 + 2 as ${String(sum.data)}`);
    } finally {
      await session.release();
    }
    findings.ok("worker.provider", `${provider} runs a graph`);
  } catch (error) {
    findings.problem("worker.provider", reasonOf(error), "fix this, or set VQD_PROVIDER=cpu");
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** What a worker of a model publishes, made harmless by a header that names another stream: JetStream then rejects the message. */
const publishes = (key: string): string[] => [
  eventSubject(0, key, ID),
  stateSubject(key, ID),
  modelSubject(key),
  `${API}.DIRECT.GET.${STREAMS.state}.${stateSubject(key, ID)}`,
  ...PRIORITIES.flatMap((priority) =>
    ["INFO", "MSG.NEXT"].map(
      (verb) => `${API}.CONSUMER.${verb}.${STREAMS.jobs}.${jobConsumer(key, priority)}`,
    ),
  ),
];
const subscribes = (key: string): string[] => [
  `${INBOX_PREFIX.worker}.doctor`,
  controlSubject(key, ID),
  "$SRV.PING.vqd-worker",
];

/**
 * Tries everything that a worker of these models needs, and looks for their queues. Takes a connection with the worker's
 * credentials, and closes it.
 */
export async function checkWorkerNats(
  findings: Findings,
  nc: NatsConnection,
  models: readonly ServedVersion[],
): Promise<void> {
  const keys = models.map(modelKey);
  for (const key of keys) await checkQueues(findings, nc, key);
  const refused: string[] = [];
  const reading = (async () => {
    for await (const status of nc.status()) {
      if (status.type === "error") refused.push(status.error.message);
    }
  })();
  for (const subject of keys.flatMap(publishes)) {
    const harmless = headers();
    harmless.set("Nats-Expected-Stream", "VQD_DOCTOR");
    nc.publish(subject, "", { headers: harmless });
  }
  for (const subject of keys.flatMap(subscribes)) nc.subscribe(subject, { callback: () => {} });
  await nc.flush();
  await nc.close();
  await reading;
  for (const message of refused) {
    findings.problem(
      "worker.permissions",
      message,
      "its credentials must name its models: npm run cluster -- user worker --model FOLDER",
    );
  }
  if (refused.length === 0)
    findings.ok("worker.permissions", "the worker has all NATS permissions that it needs");
}

/** Whatever else keeps a queue from answering is reported by another check. */
async function checkQueues(findings: Findings, nc: NatsConnection, key: string): Promise<void> {
  const jsm = await jetstreamManager(nc, { checkAPI: false, domain: API_DOMAIN });
  for (const priority of PRIORITIES) {
    const name = jobConsumer(key, priority);
    try {
      await jsm.consumers.info(STREAMS.jobs, name);
    } catch (error) {
      if (!(error instanceof JetStreamApiError) || error.code !== JetStreamApiCodes.ConsumerNotFound)
        continue;
      findings.problem(
        "worker.queue",
        `the queue ${name} does not exist`,
        `run vqd streams apply --model ${key} with the operator's credentials`,
      );
    }
  }
}
