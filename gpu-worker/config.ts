// The worker's settings, all from the environment.

import { availableParallelism, hostname } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { modelNameSchema } from "@vqd/shared/model.ts";
import { defaultQuantization, QUANTIZATIONS } from "./graph/form.ts";
import { natsSettings, natsVariables } from "./nats-settings.ts";

/** The checkpoint that comes with the repository. */
export const BUNDLED_MODEL = join(import.meta.dirname, "models", "emoji-flat");
/** Where graphs built from weights are kept. */
export const DEFAULT_CACHE_DIR = join(import.meta.dirname, "..", ".vqd", "cache");

/** "" counts as unset, as in `VQD_X= npm start`. */
const text = (fallback: string) => z.string().default(fallback);
const integer = (fallback: number, min: number, max: number) =>
  z.coerce.number().int().min(min).max(max).default(fallback);

const environmentSchema = z
  .object({
    ...natsVariables,
    VQD_MODEL: text(BUNDLED_MODEL),
    VQD_MODEL_NAME: modelNameSchema.optional(),
    VQD_PROVIDER: z.enum(["cpu", "webgpu", "cuda"]).default("cpu"),
    VQD_QUANTIZATION: z.enum(QUANTIZATIONS).optional(),
    VQD_THREADS: integer(availableParallelism(), 1, 256),
    VQD_CACHE: text(DEFAULT_CACHE_DIR),
    VQD_SLOTS: integer(1, 1, 64),
    VQD_LEASE_SECONDS: z.coerce.number().min(1).max(600).default(10),
    VQD_MAX_ATTEMPTS: integer(5, 1, 100),
    VQD_HEALTH_HOST: text("127.0.0.1"),
    VQD_HEALTH_PORT: integer(8790, 0, 65_535),
    VQD_WORKER_NAME: text(`${hostname()}-${process.pid}`),
    VQD_LOG_LEVEL: z.enum(["debug", "info", "warn", "error"]).default("info"),
  })
  .transform((env) => ({
    nats: natsSettings(env),
    modelDir: env.VQD_MODEL,
    /** `owner/name` under which the model is served; by default made from the folder's name. */
    modelName: env.VQD_MODEL_NAME,
    provider: env.VQD_PROVIDER,
    /** By default what is best on the provider. */
    quantization: env.VQD_QUANTIZATION ?? defaultQuantization(env.VQD_PROVIDER),
    threads: env.VQD_THREADS,
    cacheDir: env.VQD_CACHE,
    /** Images denoised in a pass that jobs share, and so many jobs are taken at a time; a job that is alone is stepped whole. */
    slots: env.VQD_SLOTS,
    /** How long a silent worker keeps a job before another one gets it. */
    leaseMs: Math.round(env.VQD_LEASE_SECONDS * 1000),
    /** Deliveries after which a job is given up. */
    maxAttempts: env.VQD_MAX_ATTEMPTS,
    healthHost: env.VQD_HEALTH_HOST,
    healthPort: env.VQD_HEALTH_PORT,
    workerName: env.VQD_WORKER_NAME,
    logLevel: env.VQD_LOG_LEVEL,
  }));

export type WorkerConfig = z.infer<typeof environmentSchema>;

/** Reads the settings; throws an Error whose message names every variable that is wrong, and why. */
export function readConfig(env: Record<string, string | undefined>): WorkerConfig {
  const given = Object.fromEntries(
    Object.entries(env).filter(([, value]) => value !== undefined && value !== ""),
  );
  const parsed = environmentSchema.safeParse(given);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
    throw new Error(`bad environment: ${problems.join("; ")}`);
  }
  return parsed.data;
}
