// The JetStream streams of the system, made or brought up to date with the operator's credentials.

import {
  DiscardPolicy,
  type JetStreamManager,
  JetStreamApiError,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  jetstreamManager,
} from "@nats-io/jetstream";
import { connect, nanos } from "nats";
import { STREAMS, STREAM_SUBJECTS } from "@vqd/shared/subjects.ts";

const HOUR_MS = 3_600_000;
const DUPLICATE_WINDOW_MS = 120_000;
const MAX_EVENT_BYTES = 1024 ** 3;
const STREAM_NOT_FOUND = 10_059;

export const DEFAULT_QUEUE_LIMIT = 1_000;

export interface StreamOptions {
  /** Jobs that may wait or run at once; one more is refused. */
  readonly queueLimit?: number;
  /** Forget the models announced before: the caller knows that the workers to come announce theirs. */
  readonly purgeModels?: boolean;
}

type WantedStream = Partial<StreamConfig> & Pick<StreamConfig, "name" | "subjects">;

function streamConfigs(queueLimit: number): WantedStream[] {
  const file = { storage: StorageType.File };
  return [
    {
      ...file,
      name: STREAMS.jobs,
      subjects: [STREAM_SUBJECTS.jobs],
      retention: RetentionPolicy.Workqueue,
      // A full queue refuses the new job, so that its client hears of it, and never drops an accepted one.
      discard: DiscardPolicy.New,
      max_msgs: queueLimit,
      max_age: nanos(HOUR_MS),
      duplicate_window: nanos(DUPLICATE_WINDOW_MS),
    },
    {
      ...file,
      name: STREAMS.events,
      subjects: [STREAM_SUBJECTS.events],
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.Old,
      max_bytes: MAX_EVENT_BYTES,
      max_age: nanos(HOUR_MS),
      duplicate_window: nanos(DUPLICATE_WINDOW_MS),
    },
    {
      ...file,
      name: STREAMS.state,
      subjects: [STREAM_SUBJECTS.state],
      max_msgs_per_subject: 1,
      max_age: nanos(HOUR_MS),
      allow_direct: true,
    },
    {
      ...file,
      name: STREAMS.models,
      subjects: [STREAM_SUBJECTS.models],
      max_msgs_per_subject: 1,
      allow_direct: true,
    },
  ];
}

/** Makes the streams that are missing and updates those whose settings differ. Safe to repeat. */
export async function applyStreams(
  server: { url: string; password: string },
  { queueLimit = DEFAULT_QUEUE_LIMIT, purgeModels = false }: StreamOptions = {},
): Promise<void> {
  const nc = await connect({
    servers: server.url,
    name: "vqd set-up",
    user: "operator",
    pass: server.password,
    inboxPrefix: "_INBOX_operator",
  });
  try {
    const jsm = await jetstreamManager(nc);
    await Promise.all(streamConfigs(queueLimit).map((wanted) => applyStream(jsm, wanted)));
    if (purgeModels) await jsm.streams.purge(STREAMS.models);
  } finally {
    await nc.close();
  }
}

async function applyStream(jsm: JetStreamManager, wanted: WantedStream): Promise<void> {
  const existing = await jsm.streams.info(wanted.name).catch((error: unknown) => {
    if (error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND) return undefined;
    throw error;
  });
  if (existing === undefined) {
    await jsm.streams.add(wanted);
  } else if (
    Object.entries(wanted).some(([key, value]) => !isSame(existing.config[key as keyof StreamConfig], value))
  ) {
    await jsm.streams.update(wanted.name, wanted);
  }
}

const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
