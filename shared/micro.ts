// What a worker says of itself as a NATS micro service (NATS ADR-32), and to whom.

import { z } from "zod";
import { modelNameSchema, versionSchema } from "./model.ts";

export const MICRO_SERVICE = "vqd-worker";
export const MICRO_VERBS = ["PING", "INFO", "STATS"] as const;

/** The `data` of a worker's endpoints, one for each model it serves. */
export const workerStatsSchema = z.object({
  worker: z.string(),
  status: z.enum(["starting", "ready", "busy", "draining", "failed"]),
  model: modelNameSchema,
  version: versionSchema,
  /** Names everything that decides the bits of a result. */
  numericsId: z.string(),
  provider: z.string(),
  quantization: z.string(),
  /** Whether the model is in memory now; a job for it is taken in any case. */
  loaded: z.boolean(),
  slots: z.int().min(1),
  busySlots: z.int().min(0),
  /** Running mean of a pass of the transformer; 0 before the first. */
  stepMs: z.number().min(0),
  /** Deliveries that have ended, and those of them in which a worker failed. */
  jobs: z.int().min(0),
  failedJobs: z.int().min(0),
  /** Sum over the jobs of the time they took here. */
  busyMs: z.number().min(0),
  uptimeSeconds: z.number().min(0),
});
export type WorkerStats = z.infer<typeof workerStatsSchema>;

/** An answer to `$SRV.STATS.vqd-worker`; what others add is left alone. */
export const statsResponseSchema = z.object({
  name: z.literal(MICRO_SERVICE),
  id: z.string(),
  /** Semantic version of the release. */
  version: z.string(),
  endpoints: z.array(z.object({ data: workerStatsSchema })).min(1),
});
