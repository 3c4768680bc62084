// The queues of a model: durable pull consumers that all of its workers share. The operator creates them, because whoever
// may create a consumer may also have the server send its messages to a subject of anybody's.

import {
  AckPolicy,
  type ConsumerConfig,
  type ConsumerInfo,
  DeliverPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
} from "@nats-io/jetstream";
import { nanos } from "nats";
import { jobConsumer, jobSubject, PRIORITIES, STREAMS } from "@vqd/shared/subjects.ts";
import { differences, type Planned } from "./streams.ts";

export const DEFAULT_LEASE_MS = 10_000;

export interface QueueOptions {
  /** Keys of the models. */
  readonly models: readonly string[];
  /** How long a worker may be silent before its job goes to another one; by default unchanged, 10 s for a new queue. */
  readonly leaseMs?: number | undefined;
}

export interface PlannedQueue extends Planned {
  /** Undefined for one to be deleted. */
  readonly config: Partial<ConsumerConfig> | undefined;
}

/**
 * What must change for the models to have their queues, and for nobody to be sent jobs who has not asked for them: a push
 * consumer of jobs is deleted. Changes nothing.
 */
export async function planQueues(
  jsm: JetStreamManager,
  { models, leaseMs }: QueueOptions,
): Promise<PlannedQueue[]> {
  const existing = await consumersOf(jsm);
  const pushed = existing
    .filter(({ config }) => config.deliver_subject !== undefined)
    .map(({ name, config }) => ({
      name,
      action: "delete" as const,
      differences: differences(config, { deliver_subject: undefined }),
      config: undefined,
    }));
  const gone = new Set(pushed.map(({ name }) => name));
  // The normal ones first: in releases without priorities they received all jobs, and filters must not overlap.
  const priorities = PRIORITIES.toSorted((a, b) => Number(b === "normal") - Number(a === "normal"));
  const queues = models.flatMap((key) =>
    priorities.map((priority): PlannedQueue => {
      const name = jobConsumer(key, priority);
      const present = gone.has(name) ? undefined : existing.find((one) => one.name === name)?.config;
      const config = {
        durable_name: name,
        filter_subject: jobSubject(key, priority),
        ack_policy: AckPolicy.Explicit,
        deliver_policy: DeliverPolicy.All,
        ack_wait: leaseMs === undefined ? (present?.ack_wait ?? nanos(DEFAULT_LEASE_MS)) : nanos(leaseMs),
        // Workers count attempts: a message past max_deliver would stay in the queue, never delivered.
        max_deliver: -1,
        // Workers ask for no more than they have room for, however many there are.
        max_ack_pending: -1,
      };
      if (present === undefined) {
        return { name, action: "create", differences: differences({}, config), config };
      }
      const changes = differences(present, config);
      return { name, action: changes.length === 0 ? "keep" : "update", differences: changes, config };
    }),
  );
  return [...pushed, ...queues];
}

/** Executes a plan, in its order. Safe to repeat. */
export async function executeQueuePlan(jsm: JetStreamManager, plan: readonly PlannedQueue[]): Promise<void> {
  for (const { name, action, config } of plan) {
    if (action === "delete") await jsm.consumers.delete(STREAMS.jobs, name);
    else if (action === "create" && config !== undefined) await jsm.consumers.add(STREAMS.jobs, config);
    else if (action === "update" && config !== undefined)
      await jsm.consumers.update(STREAMS.jobs, name, config);
  }
}

async function consumersOf(jsm: JetStreamManager): Promise<ConsumerInfo[]> {
  try {
    const found: ConsumerInfo[] = [];
    for await (const info of jsm.consumers.list(STREAMS.jobs)) found.push(info);
    return found;
  } catch (error) {
    // The stream is about to be created.
    if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound) return [];
    throw error;
  }
}
