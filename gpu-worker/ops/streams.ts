// The system's JetStream streams: their intended settings, what differs from them, and how to apply them.

import {
  DiscardPolicy,
  type JetStreamManager,
  JetStreamApiCodes,
  JetStreamApiError,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
} from "@nats-io/jetstream";
import { nanos } from "nats";
import { MAX_IMAGES, MAX_LATENT_PIXELS, MAX_PALETTE_CODES } from "@vqd/shared/limits.ts";
import { MAX_RETIRED, MAX_SHARES } from "@vqd/shared/routing/route.ts";
import { STREAMS, STREAM_SUBJECTS } from "@vqd/shared/subjects.ts";
import { MAX_TOKENIZER_BYTES } from "@vqd/shared/tokenizer/announcement.ts";

const HOUR_MS = 3_600_000;
const DUPLICATE_WINDOW_MS = 120_000;
const DEFAULT_EVENTS_MIB = 1_024;
const DEFAULT_EVENTS_HOURS = 1;
const MIB = 1024 ** 2;
/** Of a message beside what takes most of it: JSON and headers. */
const OVERHEAD_BYTES = 8 * 1024;
const BYTES_PER_TOKEN = 2;
const MAX_STATE_BYTES = MAX_IMAGES * MAX_LATENT_PIXELS * BYTES_PER_TOKEN + OVERHEAD_BYTES;
/** Three thousand jobs of the largest size, or more than a hundred thousand of the usual one. */
const MAX_STATES_BYTES = 256 * 1024 ** 2;
/** More than two hundred jobs with the largest images to edit, or hundreds of thousands of others. */
const MAX_JOBS_BYTES = 1024 ** 3;
/** The palette is base64; the tokenizer is attached. */
const MAX_MANIFEST_BYTES = 4 * MAX_PALETTE_CODES + MAX_TOKENIZER_BYTES + OVERHEAD_BYTES;
const MAX_MANIFESTS_BYTES = 64 * 1024 ** 2;
const MAX_ROUTE_BYTES = (MAX_SHARES + MAX_RETIRED) * 128 + OVERHEAD_BYTES;
const ROUTES_KEPT = 16;
/** Routes are some hundred bytes as a rule: sixteen of thousands of models. */
const MAX_ROUTES_BYTES = 32 * 1024 ** 2;

const DEFAULT_QUEUE_LIMIT = 1_000;
/** Survives the loss of one server in three. */
const CLUSTER_REPLICAS = 3;

export interface StreamOptions {
  /** Jobs that may wait or run at once; one more is refused. By default unchanged, or 1000 for a new stream. */
  readonly queueLimit?: number | undefined;
  /** The same of one version of a model with one priority; 0 for no limit of its own. By default unchanged, or none for a new stream. */
  readonly modelQueueLimit?: number | undefined;
  /** How much is kept of events, in MiB and in hours: as long as a hub can be behind. By default unchanged, or 1024 and 1. */
  readonly eventsMib?: number | undefined;
  readonly eventsHours?: number | undefined;
  /** Servers that hold each message: 1, 3 or 5. By default unchanged, or for a new stream 3 in a cluster, else 1. */
  readonly replicas?: number | undefined;
}

type WantedStream = Partial<StreamConfig> & Pick<StreamConfig, "name" | "subjects">;

/** The settings that the design requires, whatever the size of the deployment. */
export const WANTED_STREAMS: readonly WantedStream[] = [
  {
    storage: StorageType.File,
    name: STREAMS.jobs,
    subjects: [...STREAM_SUBJECTS.jobs],
    retention: RetentionPolicy.Workqueue,
    // A full queue refuses the new job, so that its client is told, and never drops an accepted one.
    discard: DiscardPolicy.New,
    max_bytes: MAX_JOBS_BYTES,
    max_age: nanos(HOUR_MS),
    duplicate_window: nanos(DUPLICATE_WINDOW_MS),
  },
  {
    storage: StorageType.File,
    name: STREAMS.events,
    subjects: [...STREAM_SUBJECTS.events],
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.Old,
    duplicate_window: nanos(DUPLICATE_WINDOW_MS),
    // Workers read the last event of a job, which holds its state.
    allow_direct: true,
  },
  {
    storage: StorageType.File,
    name: STREAMS.state,
    subjects: [...STREAM_SUBJECTS.state],
    max_msgs_per_subject: 1,
    max_msg_size: MAX_STATE_BYTES,
    max_bytes: MAX_STATES_BYTES,
    max_age: nanos(HOUR_MS),
    allow_direct: true,
  },
  {
    storage: StorageType.File,
    name: STREAMS.models,
    subjects: [...STREAM_SUBJECTS.models],
    // A full stream takes no new model, and keeps those it has.
    discard: DiscardPolicy.New,
    max_msgs_per_subject: 1,
    max_msg_size: MAX_MANIFEST_BYTES,
    max_bytes: MAX_MANIFESTS_BYTES,
    allow_direct: true,
  },
  {
    storage: StorageType.File,
    name: STREAMS.routes,
    subjects: [...STREAM_SUBJECTS.routes],
    discard: DiscardPolicy.New,
    // The latest counts; those before it are the log of what was decided.
    max_msgs_per_subject: ROUTES_KEPT,
    max_msg_size: MAX_ROUTE_BYTES,
    max_bytes: MAX_ROUTES_BYTES,
    allow_direct: true,
  },
];

/** Settings that a server cannot change in an existing stream. */
const IMMUTABLE: ReadonlySet<string> = new Set(["storage", "retention"]);

/** A setting that differs from the intended value; both as JSON. */
export interface Difference {
  readonly setting: string;
  readonly is: string;
  readonly wanted: string;
}

/** What is to happen to a stream or a queue. */
export interface Planned<Action = "create" | "update" | "keep" | "delete"> {
  readonly name: string;
  readonly action: Action;
  /** What an update changes; for something new, all its settings. */
  readonly differences: readonly Difference[];
}

export interface PlannedStream extends Planned<"create" | "update" | "keep"> {
  readonly config: WantedStream;
}

/** Null if the stream does not exist. */
export async function streamInfo(jsm: JetStreamManager, name: string): Promise<StreamInfo | null> {
  return jsm.streams.info(name).catch((error: unknown) => {
    if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound) return null;
    throw error;
  });
}

/** Settings in which `config` differs from `wanted`. */
export function differences<Wanted extends object>(
  config: { readonly [Setting in keyof Wanted]?: unknown },
  wanted: Wanted,
): Difference[] {
  return Object.entries(wanted)
    .map(([setting, value]) => ({
      setting,
      is: JSON.stringify(config[setting as keyof Wanted]) ?? "unset",
      wanted: JSON.stringify(value) ?? "unset",
    }))
    .filter(({ is, wanted: other }) => is !== other);
}

/** Settings of a stream that depend on the size of the deployment: as asked for, or as they are, or as for a new one. */
function sizeOf(
  name: string,
  asked: StreamOptions,
  existing: StreamConfig | undefined,
): Partial<StreamConfig> {
  const { queueLimit, modelQueueLimit, eventsMib, eventsHours } = asked;
  if (name === STREAMS.jobs) {
    const perModel = modelQueueLimit === 0 ? -1 : modelQueueLimit;
    return {
      max_msgs: queueLimit ?? existing?.max_msgs ?? DEFAULT_QUEUE_LIMIT,
      ...(perModel === undefined
        ? {}
        : { max_msgs_per_subject: perModel, discard_new_per_subject: perModel > 0 }),
    };
  }
  if (name !== STREAMS.events) return {};
  return {
    max_bytes: eventsMib === undefined ? (existing?.max_bytes ?? DEFAULT_EVENTS_MIB * MIB) : eventsMib * MIB,
    max_age:
      eventsHours === undefined
        ? (existing?.max_age ?? nanos(DEFAULT_EVENTS_HOURS * HOUR_MS))
        : nanos(Math.round(eventsHours * HOUR_MS)),
  };
}

/** Plans how to bring the streams to their intended settings. Changes nothing. */
export function planStreams(
  jsm: JetStreamManager,
  options: StreamOptions,
  isCluster: boolean,
): Promise<PlannedStream[]> {
  return Promise.all(
    WANTED_STREAMS.map(async (wanted) => {
      const { name } = wanted;
      const existing = (await streamInfo(jsm, name))?.config;
      const config: WantedStream = {
        ...wanted,
        ...sizeOf(name, options, existing),
        num_replicas: options.replicas ?? existing?.num_replicas ?? (isCluster ? CLUSTER_REPLICAS : 1),
      };
      if (existing === undefined) {
        return { name, action: "create", differences: differences({}, config), config } as const;
      }
      const changes = differences(existing, config);
      return { name, action: changes.length === 0 ? "keep" : "update", differences: changes, config };
    }),
  );
}

/** Planned changes that no server can make in place: the stream must be deleted first, with its messages. */
export function immutableChanges(plan: readonly PlannedStream[]): string[] {
  return plan
    .filter(({ action }) => action === "update")
    .flatMap(({ name, differences: changes }) =>
      changes
        .filter(({ setting }) => IMMUTABLE.has(setting))
        .map(({ setting, is, wanted }) => `${name}: ${setting} is ${is} and must be ${wanted}`),
    );
}

/** Carries out a plan. Safe to repeat. */
export async function executePlan(jsm: JetStreamManager, plan: readonly PlannedStream[]): Promise<void> {
  await Promise.all(
    plan.map(async ({ name, action, config }) => {
      if (action === "create") await jsm.streams.add(config);
      else if (action === "update") await jsm.streams.update(name, config);
    }),
  );
}

const SIGNS = { create: "+", update: "~", keep: " ", delete: "-" } as const;

/** The plan as text: a line for each stream and queue, and for each setting that changes. */
export function describePlan(plan: readonly Planned[]): string {
  const lines = plan.flatMap(({ name, action, differences: changes }) => [
    `${SIGNS[action]} ${name}${action === "keep" ? " is up to date" : ""}`,
    ...changes.map(({ setting, is, wanted }) =>
      action === "create" ? `    ${setting}: ${wanted}` : `    ${setting}: ${is} -> ${wanted}`,
    ),
  ]);
  return `${lines.join("\n")}\n`;
}
