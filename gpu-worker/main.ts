// The GPU worker: loads its models, announces them, and serves their jobs from NATS until it is told to stop.

import { randomUUID } from "node:crypto";
import { errorFields, createLogger } from "@vqd/shared/log.ts";
import type { WorkerStats } from "@vqd/shared/nats/micro.ts";
import { Broker } from "./nats/broker.ts";
import { chooseQuantization } from "./graph/choose-form.ts";
import { readConfig, type WorkerConfig } from "./config.ts";
import { JobConsumer } from "./jobs/consumer.ts";
import { type HealthStatus, startHealthServer } from "./telemetry/health.ts";
import { startHeartbeat } from "./watchdog/heartbeat.ts";
import { JobRunner } from "./jobs/runner.ts";
import { WorkerMetrics } from "./telemetry/metrics.ts";
import { serveMicroService } from "./nats/micro-service.ts";
import { ModelHost } from "./serving/model-host.ts";
import packageJson from "./package.json" with { type: "json" };
import { StallWatch } from "./watchdog/stall-watch.ts";
import { startTracing } from "./telemetry/tracing.ts";

/** Sent to the parent process, if it has an IPC channel, once jobs are served. */
export interface ReadyMessage {
  readonly type: "ready";
  readonly healthPort: number;
  /** Of the first model. */
  readonly model: string;
  readonly version: string;
}

const STALL_CHECK_MS = 250;
/** Longest time from the signal to stop until the process exits, in addition to the step in progress. */
const STOP_LIMIT_MS = 2_000;

/** Ends the process even while one of its threads is in a call that does not return; `process.exit` would wait for it. */
const killNow = (): void => void process.kill(process.pid, "SIGKILL");

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

  // A signal that arrives while the models load ends the process at once: there is nothing to hand back yet.
  let stopNow = (): void => process.exit(0);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      log.info("stopping", { signal });
      stopNow();
    });
  }

  const connecting = Broker.connect({
    nats: config.nats,
    name: `vqd-worker ${config.workerName}`,
    log,
    onRefused: (error) => {
      log.error("NATS rejects this worker's credentials", errorFields(error));
      process.exit(1);
    },
  });
  // While the models load there is no job to hand back.
  let leaveBroken = (error: unknown): void => {
    throw error;
  };
  const watch = new StallWatch(config.stallMs, { preparesShapes: config.provider !== "cpu" });
  const heartbeat = startHeartbeat(config.stallMs);
  const quantization = await chooseQuantization(config.provider, config.quantization);
  const [models, broker] = await Promise.all([
    ModelHost.open({
      ...config,
      quantization,
      watch,
      onBroken: (error) => leaveBroken(error),
      memoryBytes: config.modelBytes,
      whileLoading: (load) => heartbeat.pausedWhile(load),
      metrics,
      log,
    }),
    connecting,
  ]);
  const { maxAttempts, publishIntervalMs, stateEvery } = config;
  const maxSlots = Math.max(...models.models.map(({ capacity }) => capacity));
  const runner = new JobRunner({ models, broker, workerName: config.workerName, log });
  const consumer = new JobConsumer({
    broker,
    runner,
    models,
    maxAttempts,
    publishIntervalMs,
    stateEvery,
    maxSlots,
    metrics,
    log,
  });
  broker.onReconnect(() => metrics.reconnected());

  const stats = (): WorkerStats[] =>
    models.models.map(({ key, manifest, info, isLoaded, stepMs, slots, capacity, batchInvariant }) => {
      const { activeImages, settled, failed, busyMs } = consumer.countsOf(key);
      return {
        worker: config.workerName,
        status: status === "ready" && consumer.jobs > 0 ? "busy" : status,
        model: manifest.name,
        version: manifest.version,
        numericsId: info.numericsId,
        provider: config.provider,
        quantization,
        loaded: isLoaded,
        slots: capacity,
        busySlots: Math.min(activeImages, capacity),
        ...(slots.times.length === 0 ? {} : { slotTimes: [...slots.times] }),
        ...(batchInvariant === undefined ? {} : { batchInvariant }),
        stepMs: Math.round(stepMs * 10) / 10,
        jobs: settled,
        failedJobs: failed,
        busyMs: Math.round(busyMs),
        uptimeSeconds: Math.round((Date.now() - startedAt) / 1000),
      };
    });
  metrics.describe(packageJson.version, () => ({ status, natsConnected: broker.connected, models: stats() }));
  describe = () => {
    const [{ slotTimes: _, batchInvariant: __, ...first } = {} as WorkerStats] = stats();
    return { ...first, models: models.models.length, nats: broker.connected };
  };
  stopNow = () => {
    if (status === "draining") return;
    status = "draining";
    consumer.drain();
    const limitMs = STOP_LIMIT_MS + maxSlots * watch.slowestPassMs;
    // A call that cannot be interrupted must not hold up the jobs: the next worker continues from their last states.
    setTimeout(() => void consumer.abandon({ isToBlame: false }).then(killNow), limitMs).unref();
  };
  leaveBroken = (error) => {
    if (status === "failed") return;
    status = "failed";
    log.error("the device is broken; handing back the jobs and exiting", errorFields(error));
    void consumer.abandon({ isToBlame: false }).then(killNow);
  };
  const stallTimer = setInterval(() => {
    const stall = watch.stalled();
    if (stall === undefined || status === "failed") return;
    status = "failed";
    log.error("a call into onnxruntime hangs; handing back the jobs and exiting", { ...stall });
    void consumer.abandon({ isToBlame: true }).then(killNow);
  }, STALL_CHECK_MS);
  for (const { key, manifest, tokenizer } of models.models) {
    // Edges send jobs for what is announced: not before it is known that they can be taken.
    await broker.leaseOf(key);
    await broker.tryEvents(key);
    await broker.announce(manifest, tokenizer);
  }
  const [first] = models.models;
  if (first === undefined) throw new Error("no model to serve");
  serveMicroService({
    nc: broker.nc,
    id: randomUUID(),
    version: packageJson.version,
    metadata: { model: models.models.map(({ manifest }) => manifest.name).join(",") },
    stats,
  });
  status = "ready";
  log.info("ready", { healthPort: health.port });
  process.send?.({
    type: "ready",
    healthPort: health.port,
    model: first.manifest.name,
    version: first.manifest.version,
  } satisfies ReadyMessage);

  await consumer.run();
  clearInterval(stallTimer);
  heartbeat.stop();
  await broker.close();
  const jobs = stats().reduce((sum, one) => sum + one.jobs, 0);
  await models.close();
  await stopTracing().catch((error: unknown) =>
    log.warn("cannot export the remaining traces", errorFields(error)),
  );
  await health.close();
  log.info("stopped", { jobs });
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
