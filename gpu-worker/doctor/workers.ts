// The live workers: there, ready, of one release, and alike where they serve the same model.

import type { NatsConnection } from "nats";
import { askWorkers } from "../ops/workers.ts";
import type { Findings } from "./findings.ts";

const WAIT_MS = 700;

export interface ServedVersion {
  readonly name: string;
  readonly version: string;
}

/** What the workers serve. */
export async function checkWorkers(
  findings: Findings,
  nc: NatsConnection,
  release: string,
): Promise<ServedVersion[]> {
  const workers = await askWorkers(nc, WAIT_MS);
  if (workers.length === 0) {
    findings.problem("workers.none", "no worker answers", "start one: its own log says why it does not run");
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
      `releases side by side: ${releases.join(", ")}`,
      "fine during an upgrade, not for long",
    );
  } else if (releases[0] !== release) {
    findings.warn("workers.releases", `workers are of release ${releases[0]}, this command of ${release}`);
  }
  const models = Map.groupBy(workers, ({ model }) => model);
  for (const [model, serving] of models) {
    const versions = new Set(serving.map(({ version }) => version));
    if (versions.size > 1) {
      findings.warn(
        "workers.versions",
        `${model} is served in ${versions.size} versions, each with a queue of its own`,
      );
    }
    const numerics = new Set(serving.map(({ version, numericsId }) => `${version} ${numericsId}`));
    if (numerics.size > versions.size) {
      findings.warn(
        "workers.numerics",
        `workers of ${model} compute differently (provider or quantization): a job that moves between them starts over`,
      );
    }
    findings.ok("workers", `${model}: ${serving.length} workers`);
  }
  return workers.map(({ model, version }) => ({ name: model, version }));
}
