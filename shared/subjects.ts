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
} as const;

/** Wildcard subjects that the streams capture. */
export const STREAM_SUBJECTS = {
  jobs: "vqd.jobs.*.*",
  events: "vqd.events.*.*",
  state: "vqd.state.*",
  models: "vqd.models.*",
} as const;

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

export const eventSubject = (shard: number, predictionId: string): string =>
  `vqd.events.${shard}.${predictionId}`;

/** What an event's subject says about it. */
export interface EventPlace {
  readonly shard: number;
  readonly predictionId: string;
}

/** Undefined for a subject that no prediction's event has: its id is not one, or belongs to another shard. */
export function parseEventSubject(subject: string): EventPlace | undefined {
  const [, shardToken = "", predictionId = ""] = /^vqd\.events\.(\d+)\.([^.]+)$/.exec(subject) ?? [];
  const shard = Number(shardToken);
  if (!isPredictionId(predictionId) || shardOfPrediction(predictionId) !== shard) return undefined;
  return { shard, predictionId };
}

export const eventFilter = (shard: number): string => `vqd.events.${shard}.*`;
export const stateSubject = (predictionId: string): string => `vqd.state.${predictionId}`;
export const modelSubject = (modelKey: string): string => `vqd.models.${modelKey}`;
/** The model key in a subject of `modelSubject`. */
export const modelKeyOf = (subject: string): string => subject.slice(subject.lastIndexOf(".") + 1);
/** Core subject on which the worker that holds a job listens for its cancellation. */
export const controlSubject = (predictionId: string): string => `vqd.control.${predictionId}`;

/** Prefixes of reply inboxes: each user may only read its own. */
export const INBOX_PREFIX = {
  edge: "_INBOX_edge",
  worker: "_INBOX_worker",
  monitor: "_INBOX_monitor",
  operator: "_INBOX_operator",
} as const;
