// What a caller sees when NATS is away, the queue is full, or no worker is there.

import { afterAll, beforeAll, expect, it } from "vitest";
import { createPrediction, generateImage, getPrediction, readEvents, request } from "./support/client.ts";
import { type TestStack, startTestStack } from "./support/stack.ts";

const INPUT = { prompt: "grinning face, flat style", num_inference_steps: 5, guidance_scale: 3, seed: 5 };

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ workers: 1, queueLimit: 3, edgeVars: { QUEUE_TIMEOUT_SECONDS: "4" } });
});
afterAll(() => stack.stop());

it("answers 503 while NATS is away, and serves again after its restart", async () => {
  const before = await generateImage(stack, INPUT);
  stack.killNats();
  const refused = await request(stack, "/v1/predictions", { input: INPUT });
  expect(refused.status).toBe(503);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  await stack.waitReady();
  const after = await generateImage(stack, INPUT);
  expect(after.equals(before)).toBe(true);
});

it("finishes a prediction that was running when NATS was killed", async () => {
  const prediction = await createPrediction(stack, { ...INPUT, num_inference_steps: 60 });
  for await (const event of readEvents(stack, prediction.id)) {
    if (event.event === "step") break;
  }
  stack.killNats();
  const kinds: string[] = [];
  for await (const event of readEvents(stack, prediction.id)) kinds.push(event.event ?? "");
  expect(kinds.filter((kind) => kind === "step")).toHaveLength(60);
  expect((await getPrediction(stack, prediction.id)).status).toBe("succeeded");
});

it("answers 503 with retry-after when the queue is full, and fails what no worker takes", async () => {
  await stack.stopWorkers();
  const queued = await Promise.all([1, 2, 3].map(() => createPrediction(stack, INPUT)));
  const refused = await request(stack, "/v1/predictions", { input: INPUT });
  expect(refused.status).toBe(503);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(refused.headers.get("content-type")).toContain("application/problem+json");

  for (const { id } of queued) {
    const kinds = await Array.fromAsync(readEvents(stack, id), (event) => event.event);
    expect(kinds.at(-1)).toBe("done");
    const failed = await getPrediction(stack, id);
    expect(failed.status).toBe("failed");
    expect(failed.error).toMatch(/no worker/i);
  }
  // The expired jobs have left the queue: there is room again.
  await createPrediction(stack, INPUT);
});
