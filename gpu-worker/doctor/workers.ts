// Checks that live workers exist, are ready, run one release, and compute alike where they serve the same model.

import type { NatsConnection } from "nats";
import { askWorkers } from "../ops/workers.ts";
import type { Findings } from "./findings.ts";

const WAIT_MS = 700;

export interface ServedVersion {
  readonly name: string;
  readonly version: string;
}

/** Returns the models that the workers serve. */
export async function checkWorkers(
  findings: Findings,
  nc: NatsConnection,
  release: string,
): Promise<ServedVersion[]> {
  const workers = await askWorkers(nc, WAIT_MS);
  if (workers.length === 0) {
    findings.problem(
      "workers.none",
      "no worker answers",
      "start one; if one should be running, its log says why it is not",
    );
    return [];
  }
  for (const { worker, status, failedJobs, jobs } of workers) {
    if (status === "failed" || status === "starting")
      findings.warn("workers.status", `${worker} is ${status}`);
    if (failedJobs > 0)
      findings.warn("workers.failures", `${worker} has failed ${failedJobs} of ${jobs} jobs`);
  }
  const releases = [...new Set(workers.map((worker) => worker.release))];
  if (releases.length > 1) {
    findings.warn(
      "workers.releases",
      `several releases are running: ${releases.join(", ")}`,
      "normal during an upgrade, but not for long",
    );
  } else if (releases[0] !== release) {
    findings.warn("workers.releases", `the workers run release ${releases[0]}, this command is ${release}`);
  }
  const models = Map.groupBy(workers, ({ model }) => model);
  for (const [model, serving] of models) {
    const versions = new Set(serving.map(({ version }) => version));
    if (versions.size > 1) {
      findings.warn(
        "workers.versions",
        `${model} is served in ${versions.size} versions, each with its own queue`,
      );
    }
    const numerics = new Set(serving.map(({ version, numericsId }) => `${version} ${numericsId}`));
    if (numerics.size > versions.size) {
      findings.warn(
        "workers.numerics",
        `workers of ${model} compute differently (provider or quantization): a job that moves between them restarts`,
      );
    }
    findings.ok("workers", `${model}: ${serving.length} ${serving.length === 1 ? "worker" : "workers"}`);
  }
  return workers.map(({ model, version }) => ({ name: model, version }));
}
