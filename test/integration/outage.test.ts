// What a caller sees when NATS is away, the queue is full, or no worker is there.

import { afterEach, beforeEach, expect, it } from "vitest";
import {
  createPrediction,
  generateImage,
  getPrediction,
  readEvents,
  request,
  stepNumbers,
  upTo,
} from "./support/client.ts";
import { startTestStack, type TestStack } from "./support/stack.ts";

const INPUT = { prompt: "grinning face, flat style", num_inference_steps: 5, guidance_scale: 3, seed: 5 };

let test: TestStack;
beforeEach(async () => {
  // For each test its own: a server that was killed may keep a finished job in its queue.
  test = await startTestStack({
    workers: 1,
    shortModel: true,
    queueLimit: 3,
    edgeEnv: { QUEUE_TIMEOUT_SECONDS: "4" },
  });
});
afterEach(() => test.stop());

it("answers 503 while NATS is away, and serves again after its restart", async () => {
  const before = await generateImage(test, INPUT);
  await test.stack.nats.kill("SIGKILL");
  const refused = await request(test, "/v1/predictions", { input: INPUT });
  expect(refused.status).toBe(503);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(await refused.json()).toMatchObject({ status: 503, title: expect.any(String) as string });
  await test.stack.waitReady();
  const after = await generateImage(test, INPUT);
  expect(after.equals(before)).toBe(true);
});

it("finishes a prediction that was running when NATS was killed", async () => {
  const prediction = await createPrediction(test, { ...INPUT, num_inference_steps: 60 });
  const events = [];
  let killed = false;
  for await (const event of readEvents(test, prediction.id)) {
    events.push(event);
    if (event.event === "step" && !killed) {
      killed = true;
      await test.stack.nats.kill("SIGKILL");
    }
  }
  expect(stepNumbers(events)).toEqual(upTo(60));
  expect((await getPrediction(test, prediction.id)).status).toBe("succeeded");
});

it("answers 503 with retry-after when the queue is full, and fails what no worker takes", async () => {
  await test.stack.workers[0]?.stop();
  const queued = await Promise.all([1, 2, 3].map(() => createPrediction(test, INPUT)));
  const refused = await request(test, "/v1/predictions", { input: INPUT });
  expect(refused.status).toBe(503);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(refused.headers.get("content-type")).toContain("application/problem+json");

  for (const { id } of queued) {
    const kinds = await Array.fromAsync(readEvents(test, id), (event) => event.event);
    expect(kinds.at(-1)).toBe("done");
    const failed = await getPrediction(test, id);
    expect(failed.status).toBe("failed");
    expect(failed.error).toMatch(/no worker/i);
  }
  // The expired jobs have left the queue: there is room again.
  await createPrediction(test, INPUT);
});
