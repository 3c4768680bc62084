// What a worker reports about itself as a NATS micro service (NATS ADR-32).

import { z } from "zod";
import { modelNameSchema, slotTimeSchema, versionSchema } from "../model.ts";

export const MICRO_SERVICE = "vqd-worker";
export const MICRO_VERBS = ["PING", "INFO", "STATS"] as const;

/** The `data` of a worker's endpoints, one per model that it serves. */
export const workerStatsSchema = z.object({
  worker: z.string(),
  status: z.enum(["starting", "ready", "busy", "draining", "failed"]),
  model: modelNameSchema,
  version: versionSchema,
  /** Names everything that decides the bits of a result. */
  numericsId: z.string(),
  provider: z.string(),
  quantization: z.string(),
  /** Whether the model is in memory now; the worker takes jobs for it in either case. */
  loaded: z.boolean(),
  /** Images that it denoises at once. */
  slots: z.int().min(1),
  busySlots: z.int().min(0),
  /** Where the worker has measured how many slots to have: the ms of a pass over so many images, null without memory for it. */
  slotTimes: z.array(slotTimeSchema).optional(),
  /** Whether an image has the same bits alone as in a batch, where that was measured. */
  batchInvariant: z.boolean().optional(),
  /** Running mean of the duration of a transformer pass; 0 before the first. */
  stepMs: z.number().min(0),
  /** Deliveries that have ended, and how many of them the worker failed. */
  jobs: z.int().min(0),
  failedJobs: z.int().min(0),
  /** Total time that the jobs took on this worker. */
  busyMs: z.number().min(0),
  uptimeSeconds: z.number().min(0),
});
export type WorkerStats = z.infer<typeof workerStatsSchema>;

/** A response to `$SRV.STATS.vqd-worker`; unknown fields are ignored. */
export const statsResponseSchema = z.object({
  name: z.literal(MICRO_SERVICE),
  id: z.string(),
  /** Semantic version of the release. */
  version: z.string(),
  endpoints: z.array(z.object({ data: workerStatsSchema })).min(1),
});
