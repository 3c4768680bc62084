// An image depends on its request alone: not on what it was made beside, nor on which worker made it.

import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { MASK, PICTURE } from "../support/edit-inputs.ts";
import { createPrediction, type PredictionBody } from "./support/client.ts";
import { startTestStack, type TestStack } from "./support/stack.ts";

const JOBS = 28;
const PROMPTS = ["dog face", "pizza", "red heart", "rocket"];

const SAMPLERS = [
  { preset: "reference" },
  { preset: "reference", scheduler: "strided", temperature: 0.5 },
  { prior_rule: 2, prior_weight: 1 },
  { order: "confidence" },
  { order: "halton", temperature: 1.2 },
  { order: "confidence", remasking: 0.1 },
  { order: "halton", remasking: 0.3 },
];

/** Nothing, a part of a picture, all of it. */
const STARTS = [
  {},
  {},
  { image: PICTURE, mask: MASK, feather: 2 },
  { image: PICTURE, mask: MASK, strength: 0.7 },
  { image: PICTURE, strength: 0.6 },
];

let test: TestStack;
beforeAll(async () => {
  test = await startTestStack({ workers: 2, shortModel: true, workerEnv: { VQD_SLOTS: "3" } });
});
afterAll(() => test.stop());

/** Steps, guidance, images, samplers and arrivals that have no common period. */
const input = (job: number) => ({
  prompt: PROMPTS[job % 4],
  seed: job * 7_919,
  num_inference_steps: 2 + ((job * 5) % 4),
  guidance_scale: [1, 2.5, 5][job % 3],
  truncation_rate: job % 5 === 0 ? 0.9 : 1,
  num_outputs: 1 + ((job * 3) % 4 === 3 ? 3 : job % 2),
  ...SAMPLERS[job % SAMPLERS.length],
  ...STARTS[job % STARTS.length],
});

async function make(job: number): Promise<PredictionBody> {
  const prediction = await createPrediction(test, input(job), { prefer: "wait" });
  expect(prediction).toMatchObject({ status: "succeeded", error: null });
  return prediction;
}

async function fingerprint({ output }: PredictionBody): Promise<string[]> {
  return Promise.all(
    (output ?? []).map(async (url) =>
      createHash("sha256")
        .update(new Uint8Array(await (await fetch(url)).arrayBuffer()))
        .digest("hex"),
    ),
  );
}

it(`makes ${JOBS} jobs alone and together to the same bytes`, { timeout: 300_000 }, async () => {
  const jobs = Array.from({ length: JOBS }, (_, job) => job);
  const alone: string[][] = [];
  for (const job of jobs) alone.push(await fingerprint(await make(job)));
  expect(new Set(alone.flat()).size).toBeGreaterThan(JOBS / 2);

  const together = await Promise.all(
    jobs.map(async (job) => {
      await delay((job * 389) % 1_500);
      return make(job);
    }),
  );
  expect(new Set(together.map(({ id }) => test.workerOf(id)))).toEqual(new Set([1, 2]));
  for (const job of jobs) {
    const prediction = together[job];
    if (prediction === undefined) throw new Error(`job ${job} was not made`);
    expect(await fingerprint(prediction), JSON.stringify(input(job))).toEqual(alone[job]);
  }
});
