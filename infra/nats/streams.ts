// Creates the stack's JetStream streams, or brings them up to date, with the operator's credentials.

import { jetstreamManager } from "@nats-io/jetstream";
import { executeQueuePlan, planQueues, type QueueOptions } from "@vqd/gpu-worker/ops/queues.ts";
import { executePlan, planStreams, type StreamOptions } from "@vqd/gpu-worker/ops/streams.ts";
import { INBOX_PREFIX, STREAMS } from "@vqd/shared/subjects.ts";
import { type ConnectionOptions, connect, type NatsConnection } from "nats";

/** Applied at each start, whatever limit an earlier run had. */
export const DEFAULT_QUEUE_LIMIT = 1_000;

export interface ApplyOptions extends StreamOptions, Partial<QueueOptions> {
  /** Forget the models announced earlier; the workers that start next will announce theirs. */
  readonly purgeModels?: boolean;
}

export type OperatorServer = { url: string; password: string } | ConnectionOptions;

export function operatorConnection(server: OperatorServer): Promise<NatsConnection> {
  const how = "url" in server ? { servers: server.url, user: "operator", pass: server.password } : server;
  return connect({ ...how, name: "vqd set-up", inboxPrefix: INBOX_PREFIX.operator });
}

/** Creates missing streams and updates those whose settings differ. Safe to repeat. */
export async function applyStreams(
  server: OperatorServer,
  {
    queueLimit = DEFAULT_QUEUE_LIMIT,
    models = [],
    leaseMs,
    purgeModels = false,
    ...sizes
  }: ApplyOptions = {},
): Promise<void> {
  const nc = await operatorConnection(server);
  try {
    const jsm = await jetstreamManager(nc);
    await executePlan(jsm, await planStreams(jsm, { queueLimit, ...sizes }, nc.info?.cluster !== undefined));
    await executeQueuePlan(jsm, await planQueues(jsm, { models, leaseMs }));
    if (purgeModels) await jsm.streams.purge(STREAMS.models);
  } finally {
    await nc.close();
  }
}
