// The worker's settings, all read from the environment.

import { availableParallelism, hostname } from "node:os";
import { delimiter, join } from "node:path";
import { z } from "zod";
import { MAX_WORKER_NAME } from "@vqd/shared/limits.ts";
import { modelNameSchema } from "@vqd/shared/model.ts";
import { QUANTIZATIONS } from "./graph/form.ts";
import { natsSettings, natsVariables } from "./nats/settings.ts";

/** The checkpoint that comes with the repository. */
export const BUNDLED_MODEL = join(import.meta.dirname, "checkpoints", "scenes");
/** Where graphs built from weights are kept. */
export const DEFAULT_CACHE_DIR = join(import.meta.dirname, "..", ".vqd", "cache");

/** Splits a list of folders, separated as in PATH. */
const foldersOf = (list: string): string[] => list.split(delimiter).filter((dir) => dir !== "");

/** "" counts as unset, as in `VQD_X= npm start`. */
const text = (fallback: string) => z.string().default(fallback);
const integer = (fallback: number, min: number, max: number) =>
  z.coerce.number().int().min(min).max(max).default(fallback);

const seconds = z.coerce.number().min(1).max(600);
const MIB = 1024 * 1024;

/** The variables with their help texts; `default` is given where the value alone would say little. */
export const workerVariables = {
  ...natsVariables,
  VQD_MODEL: text(BUNDLED_MODEL)
    .refine((list) => foldersOf(list).length > 0, "names no folder")
    .meta({ description: "checkpoint folder, or several, separated as in PATH", default: "the bundled one" }),
  VQD_MODEL_NAME: z
    .string()
    .optional()
    .transform((names) => names?.split(",").map((name) => name.trim()))
    .pipe(z.array(modelNameSchema).optional())
    .meta({
      description: "owner/name to serve each folder as, comma separated",
      default: "vqd/<folder>",
    }),
  VQD_MODEL_MEMORY_MB: integer(0, 0, 16_000_000).meta({
    description: "MiB of weights to keep loaded at once; 0 for no limit",
  }),
  VQD_PROVIDER: z
    .enum(["cpu", "webgpu", "cuda"])
    .default("cpu")
    .meta({ description: "execution provider of onnxruntime" }),
  VQD_QUANTIZATION: z
    .enum(QUANTIZATIONS)
    .optional()
    .meta({ description: "form of the linear layers", default: "int8 on cpu, else w8a16" }),
  VQD_THREADS: integer(availableParallelism(), 1, 256).meta({
    description: "threads of the CPU provider",
    default: "all cores",
  }),
  VQD_CACHE: text(DEFAULT_CACHE_DIR).meta({
    description: "folder for ONNX graphs built from weights",
    default: ".vqd/cache",
  }),
  VQD_SLOTS: z
    .union([z.literal("auto"), z.coerce.number().int().min(1).max(64)])
    .optional()
    .meta({
      description:
        "maximum number of jobs to take at once; on a GPU of images in one pass, and half of the jobs; auto measures it",
      default: "1 on cpu, else auto",
    }),
  VQD_PASS_MEMORY_MB: integer(1_024, 1, 1_000_000).meta({
    description: "MiB that a pass may take in addition to the weights",
  }),
  VQD_STALL_SECONDS: seconds.default(10).meta({
    description: "shortest time after which a call into onnxruntime may count as hung",
  }),
  VQD_MAX_ATTEMPTS: integer(3, 1, 100).meta({
    description: "consecutive attempts without a completed step after which a job is given up",
  }),
  VQD_PUBLISH_INTERVAL_MS: integer(50, 0, 10_000).meta({
    description: "shortest time between two messages about a job; 0 for one at each step",
  }),
  VQD_STATE_EVERY: integer(1, 1, 1_000).meta({
    description: "number of steps between stored states, for hubs that do not read batches",
  }),
  VQD_HEALTH_HOST: text("127.0.0.1").meta({ description: "address that serves /healthz and /metrics" }),
  VQD_HEALTH_PORT: integer(8790, 0, 65_535).meta({ description: "its port; 0 for any free one" }),
  // Appears in each `started` event, whose schema limits its length.
  VQD_WORKER_NAME: z
    .string()
    .max(MAX_WORKER_NAME)
    .default(`${hostname()}-${process.pid}`)
    .meta({ description: "name in events, logs and lists of workers", default: "<host>-<process id>" }),
  VQD_LOG_LEVEL: z
    .enum(["debug", "info", "warn", "error"])
    .default("info")
    .meta({ description: "lowest level of log lines to write" }),
};

const tracing = (description: string) => z.string().optional().meta({ description });

/** OpenTelemetry's own variables, which telemetry/tracing.ts and the exporter read. */
export const tracingVariables = {
  OTEL_EXPORTER_OTLP_ENDPOINT: tracing("base URL of an OTLP/HTTP collector; without it no traces are sent"),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: tracing("full URL for traces, instead of the base URL"),
  OTEL_EXPORTER_OTLP_HEADERS: tracing("headers for the collector: name=value, comma separated"),
  OTEL_SERVICE_NAME: tracing("service name of the spans; vqd-worker by default"),
};

const environmentSchema = z
  .object(workerVariables)
  .superRefine(({ VQD_MODEL, VQD_MODEL_NAME: names }, context) => {
    const folders = foldersOf(VQD_MODEL);
    if (names === undefined || names.length === folders.length) return;
    const message = `has ${names.length} names for the ${folders.length} folders of VQD_MODEL`;
    context.addIssue({ code: "custom", path: ["VQD_MODEL_NAME"], message });
  })
  .transform((env) => ({
    nats: natsSettings(env),
    /** Checkpoint folders, each with the `owner/name` it is served as, by default derived from the folder's name. */
    models: foldersOf(env.VQD_MODEL).map((dir, index) => ({ dir, name: env.VQD_MODEL_NAME?.[index] })),
    /** Most bytes of weights loaded at once. */
    modelBytes: env.VQD_MODEL_MEMORY_MB === 0 ? Infinity : env.VQD_MODEL_MEMORY_MB * MIB,
    provider: env.VQD_PROVIDER,
    /** By default the provider's best that the device can compute. */
    quantization: env.VQD_QUANTIZATION,
    threads: env.VQD_THREADS,
    cacheDir: env.VQD_CACHE,
    /** Maximum numbers of images in a pass that jobs share and of jobs taken at once; a job that runs alone is stepped as a whole. */
    slots: env.VQD_SLOTS ?? (env.VQD_PROVIDER === "cpu" ? 1 : ("auto" as const)),
    /** Memory that a pass may take in addition to the weights. */
    passBytes: env.VQD_PASS_MEMORY_MB * MIB,
    /** A call into onnxruntime that has taken less than this does not count as hung. */
    stallMs: Math.round(env.VQD_STALL_SECONDS * 1000),
    /** Consecutive attempts without a completed step after which a job is given up. */
    maxAttempts: env.VQD_MAX_ATTEMPTS,
    /** Between two batches of a job. */
    publishIntervalMs: env.VQD_PUBLISH_INTERVAL_MS,
    /** Steps between two stored states. */
    stateEvery: env.VQD_STATE_EVERY,
    healthHost: env.VQD_HEALTH_HOST,
    healthPort: env.VQD_HEALTH_PORT,
    workerName: env.VQD_WORKER_NAME,
    logLevel: env.VQD_LOG_LEVEL,
  }));

export type WorkerConfig = z.infer<typeof environmentSchema>;

/** Reads the settings; throws an Error whose message names every invalid variable and the reason. */
export function readConfig(env: Record<string, string | undefined>): WorkerConfig {
  const given = Object.fromEntries(
    Object.entries(env).filter(([, value]) => value !== undefined && value !== ""),
  );
  const parsed = environmentSchema.safeParse(given);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
    throw new Error(`invalid environment: ${problems.join("; ")}`);
  }
  return parsed.data;
}
