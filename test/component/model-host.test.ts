// The models of a worker and their memory: room is made before a model is loaded, and none is loaded for nobody.

import { createLogger } from "@vqd/shared/log.ts";
import { expect, it } from "vitest";
import { WorkerMetrics } from "../../gpu-worker/telemetry/metrics.ts";
import { ModelHost } from "../../gpu-worker/serving/model-host.ts";
import { StallWatch } from "../../gpu-worker/watchdog/stall-watch.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const MIB = 1024 * 1024;
const forever = new AbortController().signal;
const cacheDir = await temporaryFolder();

/** Two models, which differ in their names alone, and what is said of them. */
async function openTwo(memoryBytes: number): Promise<{ host: ModelHost; lines: string[] }> {
  const lines: string[] = [];
  const log = createLogger((line) => {
    const { msg, model } = JSON.parse(line) as { msg: string; model?: string };
    if (model !== undefined) lines.push(`${msg}: ${model}`);
  }, "info");
  const host = await ModelHost.open({
    models: ["me/a", "me/b"].map((name) => ({ dir: TINY_CHECKPOINT, name })),
    watch: new StallWatch(10_000),
    provider: "cpu",
    quantization: "none",
    threads: 1,
    cacheDir,
    memoryBytes,
    whileLoading: (load) => load(),
    onBroken: () => {},
    slots: 1,
    passBytes: 1024 * MIB,
    metrics: new WorkerMetrics(),
    log,
  });
  return { host, lines };
}

it("frees a model before it loads one that does not fit beside it, also at the start", async () => {
  const { host, lines } = await openTwo(MIB);
  try {
    expect(lines).toEqual(["model loaded: me/a", "model evicted: me/a", "model loaded: me/b"]);
    expect(host.models.map(({ isLoaded }) => isLoaded)).toEqual([false, true]);
  } finally {
    await host.close();
  }
});

it("keeps what fits", async () => {
  const { host, lines } = await openTwo(Infinity);
  try {
    expect(lines).toEqual(["model loaded: me/a", "model loaded: me/b"]);
  } finally {
    await host.close();
  }
});

it("ends waiting for a model when told to, and then does not load it", async () => {
  const { host, lines } = await openTwo(MIB);
  try {
    const [a = "", b = ""] = host.models.map(({ key }) => key);
    const inUse = await host.acquire(b, forever);
    const abort = new AbortController();
    const reason = new Error("canceled");
    const waiting = host.acquire(a, abort.signal);
    await expect.poll(() => host.isCrowded).toBe(true);
    abort.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect.poll(() => host.isCrowded).toBe(false);
    expect(host.isLoaded(a)).toBe(false);
    await expect(host.acquire(a, abort.signal)).rejects.toBe(reason);

    // One of two that wait gives up: the other gets its model, once there is room.
    const second = new AbortController();
    const others = [second.signal, forever].map((signal) => host.acquire(a, signal));
    second.abort(reason);
    await expect(others[0]).rejects.toBe(reason);
    const before = lines.length;
    inUse.release();
    (await others[1])?.release();
    expect(lines.slice(before)).toEqual(["model evicted: me/b", "model reloaded: me/a"]);
  } finally {
    await host.close();
  }
});

it("loads a model for whoever comes just after the last one has given up", async () => {
  const { host } = await openTwo(MIB);
  try {
    const [a = "", b = ""] = host.models.map(({ key }) => key);
    // Some come before the load has noticed, some in the moment, some after.
    for (let turns = 0; turns < 12; turns++) {
      const inUse = await host.acquire(b, forever);
      const abort = new AbortController();
      const gaveUp = host.acquire(a, abort.signal).catch((error: unknown) => error);
      await expect.poll(() => host.isCrowded).toBe(true);
      abort.abort();
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      const late = host.acquire(a, forever);
      expect(await gaveUp).toBe(abort.signal.reason);
      inUse.release();
      (await late).release();
      expect(host.isLoaded(a)).toBe(true);
    }
  } finally {
    await host.close();
  }
});
