// Asks the live workers for their statistics, by the protocol of NATS micro services (ADR-32).

import { createInbox, type NatsConnection } from "nats";
import { MICRO_SERVICE, statsResponseSchema, type WorkerStats } from "@vqd/shared/nats/micro.ts";
import { INBOX_PREFIX } from "@vqd/shared/subjects.ts";

export interface AnsweringWorker extends WorkerStats {
  readonly id: string;
  /** Semantic version of the worker. */
  readonly release: string;
}

/** One entry for each model of each worker that answers within `waitMs`. Needs the user `monitor`. */
export async function askWorkers(nc: NatsConnection, waitMs: number): Promise<AnsweringWorker[]> {
  const found: AnsweringWorker[] = [];
  const inbox = createInbox(INBOX_PREFIX.monitor);
  const answers = nc.subscribe(inbox, { timeout: waitMs });
  nc.publish(`$SRV.STATS.${MICRO_SERVICE}`, undefined, { reply: inbox });
  const closing = setTimeout(() => answers.unsubscribe(), waitMs);
  try {
    for await (const answer of answers) {
      // The server says that nobody is listening.
      if (answer.headers?.code === 503) break;
      const parsed = statsResponseSchema.safeParse(safeJson(answer.string()));
      if (!parsed.success) continue;
      const { id, version, endpoints } = parsed.data;
      for (const { data } of endpoints) found.push({ id, release: version, ...data });
    }
  } catch (error) {
    // No answer in time means an empty list.
    if (!(error instanceof Error && error.name === "TimeoutError")) throw error;
  } finally {
    clearTimeout(closing);
  }
  return found.toSorted((a, b) => `${a.model} ${a.worker}`.localeCompare(`${b.model} ${b.worker}`));
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
