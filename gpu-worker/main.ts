// The GPU worker: loads one model, announces it, and serves its jobs from NATS until it is told to stop.

import { randomUUID } from "node:crypto";
import { errorFields, createLogger } from "@vqd/shared/log.ts";
import type { WorkerStats } from "@vqd/shared/micro.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { jobConsumer, jobFilter } from "@vqd/shared/subjects.ts";
import { Broker } from "./broker.ts";
import { readConfig, type WorkerConfig } from "./config.ts";
import { JobConsumer } from "./consumer.ts";
import { Engine } from "./engine.ts";
import { type HealthStatus, startHealthServer } from "./health.ts";
import { JobRunner } from "./job-runner.ts";
import { modelManifest } from "./manifest.ts";
import { WorkerMetrics } from "./metrics.ts";
import { serveMicroService } from "./micro-service.ts";
import { readGolden, selfCheck } from "./self-check.ts";
import packageJson from "./package.json" with { type: "json" };
import { ensurePalette } from "./palette.ts";
import { VQDiffusionPipeline } from "./pipeline/pipeline.ts";
import { startTracing } from "./tracing.ts";

/** Told to the parent process, if there is one with an IPC channel, once jobs are served. */
export interface ReadyMessage {
  readonly type: "ready";
  readonly healthPort: number;
  readonly model: string;
  readonly version: string;
}

async function serve(config: WorkerConfig): Promise<void> {
  const log = createLogger((line) => process.stdout.write(`${line}\n`), config.logLevel);
  const startedAt = Date.now();
  let status: HealthStatus = "starting";
  let describe = (): Record<string, string | number | boolean> => ({});
  const metrics = new WorkerMetrics();
  const stopTracing = startTracing({ release: packageJson.version, workerName: config.workerName });
  const health = await startHealthServer({
    host: config.healthHost,
    port: config.healthPort,
    report: () => ({
      status,
      worker: config.workerName,
      uptimeSeconds: Math.round((Date.now() - startedAt) / 1000),
      ...describe(),
    }),
    metrics,
  });

  // Signals that arrive while the model loads end the process at once: there is nothing to hand back yet.
  const stop = new AbortController();
  let stopNow = (): void => process.exit(0);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      log.info("stopping", { signal });
      stop.abort();
      stopNow();
    });
  }

  const connecting = Broker.connect({
    nats: config.nats,
    name: `vqd-worker ${config.workerName}`,
    log,
    onRefused: (error) => {
      log.error("NATS refuses this worker", errorFields(error));
      process.exit(1);
    },
  });
  const loadStartedAt = performance.now();
  const [pipeline, broker] = await Promise.all([
    VQDiffusionPipeline.fromPretrained(config.modelDir, {
      provider: config.provider,
      threads: config.threads,
      quantization: config.quantization,
      cacheDir: config.cacheDir,
    }),
    connecting,
  ]);
  const manifest = modelManifest(
    pipeline.info,
    await ensurePalette(pipeline, config.cacheDir),
    config.modelName,
  );
  log.info("model loaded", {
    model: manifest.name,
    version: manifest.version,
    provider: config.provider,
    quantization: config.quantization,
    threads: config.threads,
    seconds: Math.round(performance.now() - loadStartedAt) / 1000,
  });

  const golden = readGolden(config.modelDir);
  if (golden === undefined) {
    log.info("not self-checked: the checkpoint has no golden.json");
  } else {
    const { error, agreement } = await selfCheck(pipeline, golden);
    log.info("self-check passed", {
      error: Number(error.toPrecision(2)),
      agreement: Number(agreement.toFixed(4)),
    });
  }

  const engine = new Engine(metrics.timed(pipeline), config.slots);
  broker.onReconnect(() => metrics.reconnected());
  const consumer = new JobConsumer({
    broker,
    runner: new JobRunner({ pipeline, engine, broker, workerName: config.workerName, log }),
    modelKey: modelKey(manifest),
    leaseMs: config.leaseMs,
    maxAttempts: config.maxAttempts,
    maxSlots: config.slots,
    metrics,
    log,
  });
  const stats = (): WorkerStats => ({
    worker: config.workerName,
    status: status === "ready" && consumer.busySlots > 0 ? "busy" : status,
    model: manifest.name,
    version: manifest.version,
    numericsId: pipeline.info.numericsId,
    provider: config.provider,
    quantization: config.quantization,
    slots: config.slots,
    busySlots: consumer.busySlots,
    stepMs: Math.round(engine.stepMs * 10) / 10,
    jobs: consumer.settled,
    failedJobs: consumer.failed,
    busyMs: Math.round(consumer.busyMs),
    uptimeSeconds: Math.round((Date.now() - startedAt) / 1000),
  });
  describe = () => ({ ...stats(), nats: broker.connected });
  metrics.describe(packageJson.version, () => ({ ...stats(), natsConnected: broker.connected }));
  stopNow = () => {
    status = "draining";
    consumer.drain();
  };

  await broker.announce(manifest);
  const key = modelKey(manifest);
  serveMicroService({
    nc: broker.nc,
    id: randomUUID(),
    version: packageJson.version,
    metadata: { model: manifest.name, version: manifest.version, numerics_id: pipeline.info.numericsId },
    subject: jobFilter(key),
    queueGroup: jobConsumer(key),
    stats,
  });
  status = "ready";
  log.info("ready", { healthPort: health.port });
  process.send?.({
    type: "ready",
    healthPort: health.port,
    model: manifest.name,
    version: manifest.version,
  } satisfies ReadyMessage);

  await consumer.run();
  await broker.close();
  await pipeline.release();
  await stopTracing().catch((error: unknown) => log.warn("traces not sent", errorFields(error)));
  await health.close();
  log.info("stopped", { jobs: consumer.settled });
}

try {
  await serve(readConfig(process.env));
  // An IPC channel to the parent would keep the process alive.
  if (process.connected) process.disconnect();
} catch (error) {
  process.stdout.write(
    `${JSON.stringify({ time: new Date().toISOString(), level: "error", msg: "worker failed", ...errorFields(error) })}\n`,
  );
  process.exit(1);
}
