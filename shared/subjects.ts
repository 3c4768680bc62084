// NATS names: streams, subjects and consumers. Messages are described in codec.ts, permissions in infra/nats.

import { isPredictionId, shardOfPrediction } from "./ids.ts";

export const STREAMS = {
  /** Work queue: one message per live job. */
  jobs: "VQD_JOBS",
  /** Events of all jobs; hubs continue reading from the sequence they have stored. */
  events: "VQD_EVENTS",
  /** Latest diffusion state of each job, for resuming elsewhere. */
  state: "VQD_STATE",
  /** Latest manifest of each model. */
  models: "VQD_MODELS",
  /** Latest route of each model name: which of its versions serve it. */
  routes: "VQD_ROUTES",
} as const;

/** Subjects that the streams capture, including those of 0.1.0, which name no model (`UNSCOPED`). */
export const STREAM_SUBJECTS = {
  jobs: ["vqd.jobs.*.*"],
  // In one piece: what a consumer filters must lie within a single subject of its stream (nats-server 2.9).
  events: ["vqd.events.*.>"],
  state: ["vqd.state.*.*", "vqd.state.*"],
  models: ["vqd.models.*"],
  routes: ["vqd.routes.*"],
} as const;

/** JetStream's API is at `$JS.vqd.API` in the accounts of workers and monitors, which import it (infra/nats/accounts.ts). */
export const API_DOMAIN = "vqd";

/** Priorities of jobs, the most urgent first. */
export const PRIORITIES = ["high", "normal", "low"] as const;
export type Priority = (typeof PRIORITIES)[number];

export const jobSubject = (modelKey: string, priority: Priority): string =>
  `vqd.jobs.${modelKey}.${priority}`;
/** All jobs of a model, with any priority. */
export const jobFilter = (modelKey: string): string => `vqd.jobs.${modelKey}.*`;
/** The durable pull consumer, one per priority, that all workers of a model share. */
export const jobConsumer = (modelKey: string, priority: Priority): string =>
  priority === "normal" ? `workers-${modelKey}` : `workers-${modelKey}--${priority}`;

export const eventSubject = (shard: number, modelKey: string, predictionId: string): string =>
  `vqd.events.${shard}.${modelKey}.${predictionId}`;

/** What an event's subject says about it. */
export interface EventPlace {
  readonly shard: number;
  /** Of the model that its worker may serve; undefined in a subject of 0.1.0. */
  readonly modelKey: string | undefined;
  readonly predictionId: string;
}

/** Undefined for a subject that no prediction's event has: its id is not one, or belongs to another shard. */
export function parseEventSubject(subject: string): EventPlace | undefined {
  const [, shardToken = "", modelKey, predictionId = ""] =
    /^vqd\.events\.(\d+)\.(?:([^.]+)\.)?([^.]+)$/.exec(subject) ?? [];
  const shard = Number(shardToken);
  if (!isPredictionId(predictionId) || shardOfPrediction(predictionId) !== shard) return undefined;
  return { shard, modelKey, predictionId };
}

/** The events of a shard, also those of workers of 0.1.0. */
export const eventFilter = (shard: number): string => `vqd.events.${shard}.>`;
export const stateSubject = (modelKey: string, predictionId: string): string =>
  `vqd.state.${modelKey}.${predictionId}`;
export const modelSubject = (modelKey: string): string => `vqd.models.${modelKey}`;
export const MODELS_FILTER = modelSubject("*");
/** The model key in a subject of `modelSubject`. */
export const modelKeyOf = (subject: string): string => subject.slice(subject.lastIndexOf(".") + 1);
/** `name` is `owner/name`, in which a double dash is not allowed (model.ts). */
export const routeSubject = (name: string): string => `vqd.routes.${name.replace("/", "--")}`;
export const ROUTES_FILTER = "vqd.routes.*";
/** The model name in a subject of `routeSubject`. */
export const nameOfRoute = (subject: string): string =>
  subject.slice(subject.lastIndexOf(".") + 1).replace("--", "/");
/** Core subject on which the worker that holds a job listens for its cancellation. */
export const controlSubject = (modelKey: string, predictionId: string): string =>
  `vqd.control.${modelKey}.${predictionId}`;

/** Subjects of 0.1.0. Hubs and workers of both releases work side by side until its credentials are retired. */
export const UNSCOPED = {
  eventSubject: (shard: number, predictionId: string): string => `vqd.events.${shard}.${predictionId}`,
  stateSubject: (predictionId: string): string => `vqd.state.${predictionId}`,
  controlSubject: (predictionId: string): string => `vqd.control.${predictionId}`,
} as const;

/** Prefixes of reply inboxes: each user may only read its own. */
export const INBOX_PREFIX = {
  edge: "_INBOX_edge",
  worker: "_INBOX_worker",
  monitor: "_INBOX_monitor",
  operator: "_INBOX_operator",
} as const;
