// Workers that die or leave in the middle of a prediction: another one goes on from the last step.

import { execFile } from "node:child_process";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Job } from "@vqd/shared/job.ts";
import { modelKey } from "@vqd/shared/model.ts";
import sharp from "sharp";
import { afterAll, beforeAll, expect, it } from "vitest";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/index.ts";
import { recordGolden } from "../../gpu-worker/serving/self-check.ts";
import { REPO } from "../../infra/stack/paths.ts";
import {
  createPrediction,
  generateImage,
  getPrediction,
  readEvents,
  stepNumbers,
  upTo,
} from "./support/client.ts";
import { makeJob } from "../support/job.ts";
import { TestEdge } from "./support/jobs.ts";
import { startTestStack, type TestStack, TINY_MODEL } from "./support/stack.ts";

const STEPS = 40;
const INPUT = {
  prompt: "grinning face, flat style",
  guidance_scale: 3,
  seed: 11,
  num_inference_steps: STEPS,
};

let test: TestStack;
beforeAll(async () => {
  // A short lease, so that the test does not wait for the default one.
  test = await startTestStack({ workers: 2, shortModel: true, leaseSeconds: 3 });
});
afterAll(() => test.stop());

/** Names of the workers that have logged the start of the prediction, in order. */
const startedOn = (predictionId: string): string[] =>
  test.lines
    .filter(({ text }) => text.startsWith("job started") && text.includes(predictionId))
    .map(({ source }) => source);

it.each([
  ["SIGKILL", { preset: "reference" }],
  ["SIGTERM", { preset: "reference" }],
  ["SIGKILL", { order: "confidence", remasking: 0.1 }],
  ["SIGTERM", { order: "halton" }],
  ["SIGTERM", { scheduler: "strided", prior_rule: 2, prior_weight: 1 }],
] as const)("goes on elsewhere after %s, step by step and bit by bit: %j", async (signal, settings) => {
  const input = { ...INPUT, ...settings };
  const undisturbed = await generateImage(test, input);

  const prediction = await createPrediction(test, input);
  const events = [];
  for await (const event of readEvents(test, prediction.id)) {
    events.push(event);
    if (event.event === "step" && stepNumbers(events).length === 10) {
      // The log comes another way than the events, and may be behind them.
      await expect.poll(() => startedOn(prediction.id).length).toBe(1);
      await test.stack.workers[test.workerOf(prediction.id) - 1]?.kill(signal);
    }
  }
  expect(stepNumbers(events)).toEqual(upTo(STEPS));
  await expect.poll(() => new Set(startedOn(prediction.id)).size).toBe(2);

  const { status, output } = await getPrediction(test, prediction.id);
  expect(status).toBe("succeeded");
  const image = await fetch(output?.[0] ?? "");
  expect(Buffer.from(await image.arrayBuffer()).equals(undisturbed)).toBe(true);
  await test.stack.waitReady();
});

it.each([
  ["an edit", { order: "confidence", remasking: 0.1 }, 1],
  ["a variation", { order: "posterior" }, 0.9],
] as const)(
  "goes on elsewhere with %s, which depends on its image only until then",
  async (_name, sampler, strength) => {
    const { stack, url } = test;
    const { models } = (await (await fetch(`${url}/healthz`)).json()) as { models: Pick<Job, "version">[] };
    const [model] = models;
    if (model === undefined) throw new Error("no model");
    const plain = (width: number, height: number, background: string) =>
      sharp({ create: { width, height, channels: 3, background } }).png();
    const image = await plain(200, 100, "orange")
      .composite([{ input: await plain(40, 50, "navy").toBuffer() }])
      .jpeg()
      .toBuffer();
    const mask = await plain(200, 100, "black")
      .composite([{ input: await plain(60, 60, "white").toBuffer() }])
      .toBuffer();
    const source: Job["source"] = {
      type: "image",
      bytes: image.length,
      mask: { type: "file", channel: "luminance", bytes: mask.length },
      strength,
      blend: { feather: 3 },
    };
    const settings = {
      model: "vqd/short",
      version: model.version,
      prompts: [Array<number>(32).fill(5)],
    };
    // No hub follows this shard.
    const jobOf = (): Job =>
      makeJob({
        ...settings,
        ...sampler,
        source,
        shard: 900,
        scheduler: "strided",
        numInferenceSteps: STEPS,
      });
    const edge = await TestEdge.connect({ url: stack.natsUrl, passwords: stack.passwords });
    try {
      const [whole, broken] = [jobOf(), jobOf()];
      const key = modelKey({ name: whole.model, version: whole.version });
      const attached = Buffer.concat([image, mask]);
      await edge.send(whole, key, attached);
      expect(await edge.endOf(whole.id), JSON.stringify(edge.eventsOf(whole.id))).toBe("succeeded");
      await edge.send(broken, key, attached);
      const steps = (): number => edge.eventsOf(broken.id).filter(({ type }) => type === "step").length;
      await expect.poll(steps, { interval: 5, timeout: 20_000 }).toBeGreaterThan(8);
      await expect.poll(() => startedOn(broken.id).length).toBe(1);
      await stack.workers[test.workerOf(broken.id) - 1]?.kill("SIGKILL");
      expect(await edge.endOf(broken.id)).toBe("succeeded");
      expect(new Set(startedOn(broken.id)).size).toBe(2);
      expect(edge.filesOf(broken.id)).toEqual(edge.filesOf(whole.id));
    } finally {
      await edge.close();
    }
    await stack.waitReady();
  },
);

it("shares the queue between two workers", async () => {
  const created = await Promise.all(
    upTo(6).map((seed) =>
      createPrediction(test, { ...INPUT, seed, num_inference_steps: 10 }, { prefer: "wait" }),
    ),
  );
  expect(created.map((prediction) => prediction.status)).toEqual(upTo(6).map(() => "succeeded"));
  expect(new Set(created.map(({ id }) => test.workerOf(id))).size).toBe(2);
});

it("lists the workers that are live, with their queue", async () => {
  const vqd = async (...args: string[]): Promise<string> => {
    const cli = join(REPO, "gpu-worker", "cli.ts");
    return (await promisify(execFile)(process.execPath, [cli, "workers", ...args])).stdout;
  };
  await test.stack.waitReady();
  const prediction = await createPrediction(test, INPUT, { prefer: "wait" });
  expect(prediction.status).toBe("succeeded");
  const listed = JSON.parse(await vqd("--data", test.stack.dataDir, "--json")) as Record<string, unknown>[];
  expect(listed).toHaveLength(2);
  for (const worker of listed) {
    expect(worker).toMatchObject({
      model: "vqd/short",
      slots: 1,
      provider: "cpu",
      failedJobs: 0,
      queued: 0,
    });
  }
  expect(new Set(listed.map(({ id }) => id)).size).toBe(2);
  expect(listed.some(({ jobs }) => Number(jobs) > 0)).toBe(true);
  const [head, ...rows] = (await vqd("--data", test.stack.dataDir)).trimEnd().split("\n");
  expect(head).toMatch(/^WORKER +STATUS +MODEL/);
  expect(rows).toHaveLength(2);
});

it("does not serve a model that computes something else than its checkpoint says", async () => {
  const folder = await mkdtemp(join(tmpdir(), "vqd-golden-"));
  try {
    const model = join(folder, "tiny");
    await cp(TINY_MODEL, model, { recursive: true });
    const tiny = await VQDiffusionPipeline.fromPretrained(model, { cacheDir: test.cacheDir });
    const golden = await recordGolden(tiny, "a picture");
    await tiny.release();
    for (const one of golden.cases) one.top_log_prob = one.top_log_prob.map((value) => value - 2);
    await writeFile(join(model, "golden.json"), JSON.stringify(golden));
    const worker = promisify(execFile)(process.execPath, [join(REPO, "gpu-worker", "main.ts")], {
      env: {
        ...process.env,
        VQD_MODEL: model,
        VQD_CACHE: test.cacheDir,
        VQD_NATS_URL: test.stack.natsUrl,
        VQD_NATS_USER: "worker",
        VQD_NATS_PASSWORD: test.stack.passwords.worker,
        VQD_HEALTH_PORT: "0",
      },
    });
    const { code, stdout } = await worker.then(
      () => ({ code: 0, stdout: "" }),
      (error: unknown) => error as { code: number; stdout: string },
    );
    expect(code).toBe(1);
    expect(stdout).toContain("results differ from golden.json");
    expect(stdout).not.toContain('"ready"');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
