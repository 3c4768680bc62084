// A worker with two models and memory for one: it serves both, and loads what is asked for.

import { execFile } from "node:child_process";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { BUNDLED_MODEL, REPO } from "../../infra/stack/paths.ts";
import { BUNDLED } from "./support/bundled.ts";
import { createPrediction, request } from "./support/client.ts";
import { startTestStack, type TestStack, TINY_MODEL } from "./support/stack.ts";

const MODELS = { [BUNDLED.name]: BUNDLED.side, "vqd/checkpoint": 16 };

let test: TestStack;
beforeAll(async () => {
  test = await startTestStack({
    model: [BUNDLED_MODEL, TINY_MODEL].join(delimiter),
    workerEnv: { VQD_MODEL_MEMORY_MB: "1", VQD_SLOTS: "2" },
  });
});
afterAll(() => test.stop());

async function make(model: string, seed: number): Promise<string> {
  const json = { model, input: { prompt: "pizza", seed, num_inference_steps: 4 } };
  const response = await request(test, "/v1/predictions", json, { headers: { prefer: "wait" } });
  const { status, output, error } = (await response.json()) as {
    status: string;
    output: string[];
    error: string | null;
  };
  expect({ model, status, error }).toEqual({ model, status: "succeeded", error: null });
  const image = await fetch(output[0] ?? "");
  return Buffer.from(await image.arrayBuffer()).toString("base64");
}

/** Width of a PNG file. */
const widthOf = (base64: string): number => Buffer.from(base64, "base64").readUInt32BE(16);

it("serves both, whichever is loaded, and the first by default", async () => {
  const listed = (await (await request(test, "/v1/models")).json()) as { data: { id: string }[] };
  expect(listed.data.map(({ id }) => id).toSorted()).toEqual(Object.keys(MODELS).toSorted());
  const { id } = await createPrediction(
    test,
    { prompt: "pizza", num_inference_steps: 1 },
    { prefer: "wait" },
  );
  const isDone = (): boolean =>
    test.lines.some(({ text }) => text.startsWith("job done") && text.includes(id));
  await expect.poll(isDone).toBe(true);

  const alone: Record<string, string> = {};
  for (const [model, width] of Object.entries(MODELS)) {
    alone[model] = await make(model, 1);
    expect(widthOf(alone[model] ?? "")).toBe(width);
  }
  // Both at once, more than fit, and in turns: each as alone.
  const names = Object.keys(MODELS);
  const together = await Promise.all(
    Array.from({ length: 8 }, (_, job) => make(names[job % names.length] ?? "", 1 + Math.floor(job / 6))),
  );
  for (const [job, image] of together.entries()) {
    if (job < 6) expect(image === alone[names[job % names.length] ?? ""], `job ${job}`).toBe(true);
  }
  const freed = test.lines.filter(({ text }) => text.startsWith("model evicted")).length;
  const loaded = test.lines.filter(({ text }) => text.startsWith("model reloaded")).length;
  // One was freed at the start: both are loaded once, to be announced.
  expect(freed).toBeGreaterThanOrEqual(3);
  expect(loaded).toBe(freed - 1);
});

it("says of each model how it is", async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    join(REPO, "gpu-worker", "cli.ts"),
    "workers",
    "--data",
    test.stack.dataDir,
    "--json",
  ]);
  const rows = JSON.parse(stdout) as { model: string; loaded: boolean; jobs: number; queued: number }[];
  expect(rows.map(({ model }) => model)).toEqual(["vqd/checkpoint", BUNDLED.name]);
  expect(rows.filter(({ loaded }) => loaded)).toHaveLength(1);
  for (const row of rows) expect(row.queued).toBe(0);
  expect(rows.map(({ jobs }) => jobs)).toEqual([5, 6]);
});
