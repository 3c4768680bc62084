// Workers that die or leave in the middle of a prediction: another one goes on from the last step.

import { afterAll, beforeAll, expect, it } from "vitest";
import {
  createPrediction,
  generateImage,
  getPrediction,
  readEvents,
  stepNumbers,
  upTo,
} from "./support/client.ts";
import { type TestStack, startTestStack } from "./support/stack.ts";

const STEPS = 60;
const INPUT = {
  prompt: "grinning face, flat style",
  guidance_scale: 3,
  seed: 11,
  num_inference_steps: STEPS,
};

let stack: TestStack;
beforeAll(async () => {
  // A short lease, so that the test does not wait for the default one.
  stack = await startTestStack({ workers: 2, env: { VQD_LEASE_SECONDS: "3" } });
});
afterAll(() => stack.stop());

/** Runs a prediction, sends `signal` to its worker after 10 steps, and returns what a reader saw. */
async function disturbed(
  signal: NodeJS.Signals,
): Promise<{ steps: number[]; workers: string[]; image: Buffer }> {
  const prediction = await createPrediction(stack, INPUT);
  const workers: string[] = [];
  const events = [];
  for await (const event of readEvents(stack, prediction.id)) {
    events.push(event);
    if (event.event === "started") workers.push((JSON.parse(event.data) as { worker: string }).worker);
    if (stepNumbers(events).length === 10 && event.event === "step") {
      const pid = Number(workers[0]?.split("-").at(-1));
      process.kill(pid, signal);
    }
  }
  const { status, output } = await getPrediction(stack, prediction.id);
  expect(status).toBe("succeeded");
  const image = await fetch(output?.[0] ?? "");
  return { steps: stepNumbers(events), workers, image: Buffer.from(await image.arrayBuffer()) };
}

it.each(["SIGKILL", "SIGTERM"] as const)(
  "goes on elsewhere after %s, step by step and bit by bit",
  async (signal) => {
    const undisturbed = await generateImage(stack, INPUT);
    const { steps, workers, image } = await disturbed(signal);
    expect(steps).toEqual(upTo(STEPS));
    expect(new Set(workers).size).toBe(2);
    expect(image.equals(undisturbed)).toBe(true);
    await stack.waitReady();
  },
);

it("two workers share the queue", async () => {
  const created = await Promise.all(
    upTo(6).map((seed) =>
      createPrediction(stack, { ...INPUT, seed, num_inference_steps: 10 }, { prefer: "wait" }),
    ),
  );
  expect(created.map((prediction) => prediction.status)).toEqual(upTo(6).map(() => "succeeded"));
  const workers = new Set<string>();
  for (const { id } of created) {
    for await (const event of readEvents(stack, id)) {
      if (event.event === "started") workers.add((JSON.parse(event.data) as { worker: string }).worker);
    }
  }
  expect(workers.size).toBe(2);
});
