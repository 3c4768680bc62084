// The complete examination: of the system as the monitor sees it, or of this machine as a worker, and of the edge.

import { INBOX_PREFIX } from "@vqd/shared/subjects.ts";
import { settingsFor } from "../cli/nats-connection.ts";
import { readConfig, type WorkerConfig } from "../config.ts";
import packageJson from "../package.json" with { type: "json" };
import { checkEdge, checkListed } from "./edge.ts";
import { Findings, reasonOf } from "./findings.ts";
import { checkNats } from "./nats.ts";
import { checkStreams } from "./streams.ts";
import { checkWorkerMachine, checkWorkerNats, compareVersions } from "./worker.ts";
import { checkWorkers, type ServedVersion } from "./workers.ts";

export interface DiagnoseOptions {
  readonly part: "system" | "worker";
  readonly env: NodeJS.ProcessEnv;
  /** Origin of the edge, if it is to be checked. */
  readonly url: string | undefined;
  /** API key to test there. */
  readonly apiKey: string | undefined;
  /** Version that the worker's model must have, or its first digits. */
  readonly modelVersion: string | undefined;
  readonly minFreeGib: number;
  /** Data folder of npm start. */
  readonly data: string | undefined;
}

/** Changes nothing. */
export async function diagnose(options: DiagnoseOptions): Promise<Findings> {
  const { part, url, apiKey } = options;
  const findings = new Findings();
  const served =
    part === "worker" ? await checkThisWorker(findings, options) : await checkSystem(findings, options);
  if (url === undefined) return findings;
  const known = await checkEdge(findings, url, apiKey);
  if (part === "worker") compareVersions(findings, served, known, "at the edge");
  else if (known.length > 0) checkListed(findings, served, known);
  return findings;
}

async function checkThisWorker(
  findings: Findings,
  { env, minFreeGib, modelVersion: version }: DiagnoseOptions,
): Promise<ServedVersion[]> {
  let config: WorkerConfig;
  try {
    config = readConfig(env);
  } catch (error) {
    findings.problem("worker.settings", reasonOf(error));
    return [];
  }
  const own = await checkWorkerMachine(findings, config, minFreeGib);
  for (const model of own) {
    if (version !== undefined && !model.version.startsWith(version)) {
      findings.problem(
        "worker.version",
        `${model.name} is version ${model.version}, not ${version}`,
        "these are not the intended files: copy them again",
      );
    }
  }
  const nc = await checkNats(findings, config.nats, INBOX_PREFIX.worker);
  if (nc !== undefined) await checkWorkerNats(findings, nc, own);
  return own;
}

async function checkSystem(findings: Findings, { env, data }: DiagnoseOptions): Promise<ServedVersion[]> {
  const nc = await checkNats(findings, settingsFor("monitor", data, env), INBOX_PREFIX.monitor);
  if (nc === undefined) return [];
  try {
    if (nc.info?.jetstream === true) await checkStreams(findings, nc);
    return await checkWorkers(findings, nc, packageJson.version);
  } finally {
    await nc.close();
  }
}
