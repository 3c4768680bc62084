// The worker as a NATS micro service (NATS ADR-32): a request to `$SRV.STATS.vqd-worker` is answered by every live worker.

import type { Msg, NatsConnection } from "nats";
import { MICRO_SERVICE, MICRO_VERBS, type WorkerStats, workerStatsSchema } from "@vqd/shared/nats/micro.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { jobConsumer, jobFilter } from "@vqd/shared/subjects.ts";

export interface MicroServiceOptions {
  readonly nc: NatsConnection;
  /** Unique among live workers. */
  readonly id: string;
  /** Semantic version. */
  readonly version: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Current statistics of each model. */
  readonly stats: () => readonly WorkerStats[];
}

const DESCRIPTION = "Runs VQ-Diffusion jobs from the work queue";
/** Nanoseconds, as ADR-32 counts processing time. */
const NS_PER_MS = 1e6;

type Verb = (typeof MICRO_VERBS)[number];

/** Answers requests until the connection closes. A subject that the user may not subscribe to is not served; the rest is. */
export function serveMicroService(options: MicroServiceOptions): void {
  const { nc, id } = options;
  const started = new Date().toISOString();
  for (const verb of MICRO_VERBS) {
    const answer = (error: Error | null, request: Msg): void => {
      if (error === null) request.respond(JSON.stringify(response(verb, options, started)));
    };
    for (const whose of ["", `.${MICRO_SERVICE}`, `.${MICRO_SERVICE}.${id}`]) {
      nc.subscribe(`$SRV.${verb}${whose}`, { callback: answer });
    }
  }
}

function response(verb: Verb, options: MicroServiceOptions, started: string): object {
  const { id, version, metadata } = options;
  const identity = {
    name: MICRO_SERVICE,
    id,
    version,
    metadata,
    type: `io.nats.micro.v1.${verb.toLowerCase()}_response`,
  };
  if (verb === "PING") return identity;
  const stats = options.stats().map((one) => workerStatsSchema.parse(one));
  if (verb === "INFO") return { ...identity, description: DESCRIPTION, endpoints: stats.map(endpointOf) };
  return { ...identity, started, endpoints: stats.map(endpointStats) };
}

/** A model's queue, as an endpoint. */
function endpointOf({ model, version }: WorkerStats): object {
  const key = modelKey({ name: model, version });
  return { name: key, subject: jobFilter(key), queue_group: jobConsumer(key, "normal") };
}

function endpointStats(stats: WorkerStats): object {
  const processingNs = Math.round(stats.busyMs * NS_PER_MS);
  return {
    ...endpointOf(stats),
    num_requests: stats.jobs,
    num_errors: stats.failedJobs,
    last_error: "",
    processing_time: processingNs,
    average_processing_time: stats.jobs === 0 ? 0 : Math.round(processingNs / stats.jobs),
    data: stats,
  };
}
