// The models of a worker and their memory: room is made before a model is loaded, and none is loaded for nobody.

import { createLogger } from "@vqd/shared/log.ts";
import { expect, it } from "vitest";
import { WorkerMetrics } from "../../gpu-worker/metrics.ts";
import { ModelHost } from "../../gpu-worker/model-host.ts";
import { StallWatch } from "../../gpu-worker/stall-watch.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "./support/tiny.ts";

const MIB = 1024 * 1024;
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
    maxSlots: 1,
    passBytes: 1024 * MIB,
    metrics: new WorkerMetrics(),
    log,
  });
  return { host, lines };
}

it("frees a model before it loads one that does not fit beside it, also at the start", async () => {
  const { host, lines } = await openTwo(MIB);
  try {
    expect(lines).toEqual(["model loaded: me/a", "model freed: me/a", "model loaded: me/b"]);
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
