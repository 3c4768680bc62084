// Text to image through edge, NATS and worker: the images, their repeatability, the stream of steps.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { EventSourceMessage } from "eventsource-parser";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BUNDLED } from "./support/bundled.ts";
import {
  allEvents,
  createPrediction,
  generateImage,
  getPrediction,
  readEvents,
  request,
  stepNumbers,
  upTo,
} from "./support/client.ts";
import { REPO } from "../../infra/stack/paths.ts";
import { startTestStack, type TestStack } from "./support/stack.ts";

const FACE = { prompt: "grinning face, flat style", num_inference_steps: 12, guidance_scale: 3 };

let test: TestStack;
beforeAll(async () => {
  test = await startTestStack({ workers: 1 });
});
afterAll(() => test.stop());

describe("an image", () => {
  it("is a PNG of the model's size, yellow in the middle for a grinning face", async () => {
    const png = await generateImage(test, { prompt: FACE.prompt, seed: 7, num_inference_steps: 50 });
    const image = sharp(png);
    expect(await image.metadata()).toMatchObject({
      format: "png",
      width: BUNDLED.side,
      height: BUNDLED.side,
      channels: 3,
    });
    const margin = BUNDLED.side / 4;
    const middle = await image
      .extract({ left: margin, top: margin, width: 2 * margin, height: 2 * margin })
      .stats();
    const [red = 0, green = 0, blue = 0] = middle.channels.map((channel) => channel.mean);
    expect(red).toBeGreaterThan(150);
    expect(green).toBeGreaterThan(100);
    expect(blue).toBeLessThan(green);
  });

  it("has the same bytes for the same seed, also from the command line, and others for another", async () => {
    const first = await generateImage(test, { ...FACE, seed: 7 });
    const again = await generateImage(test, { ...FACE, seed: 7 });
    const other = await generateImage(test, { ...FACE, seed: 8 });
    expect(again.equals(first)).toBe(true);
    expect(other.equals(first)).toBe(false);

    const folder = await mkdtemp(join(tmpdir(), "vqd-cli-"));
    try {
      const out = join(folder, "face.png");
      await promisify(execFile)(process.execPath, [
        join(REPO, "gpu-worker", "cli.ts"),
        "generate",
        FACE.prompt,
        "--seed=7",
        "--steps=12",
        "--guidance-scale=3",
        `--cache=${test.cacheDir}`,
        `--out=${out}`,
      ]);
      expect((await readFile(out)).equals(first)).toBe(true);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("does not depend on the other images of its prediction", async () => {
    const alone = await createPrediction(test, { ...FACE, seed: 3 }, { prefer: "wait" });
    const several = await createPrediction(test, { ...FACE, seed: 3, num_outputs: 3 }, { prefer: "wait" });
    expect(several.output).toHaveLength(3);
    const bytes = async (url: string | undefined) =>
      Buffer.from(await (await fetch(url ?? "")).arrayBuffer());
    const images = await Promise.all((several.output ?? []).map(bytes));
    expect(images[0]?.equals(await bytes(alone.output?.[0]))).toBe(true);
    expect(images[1]?.equals(images[0] ?? Buffer.alloc(0))).toBe(false);
  });
});

describe("the event stream", () => {
  it("shows every step in order with its tokens", async () => {
    const prediction = await createPrediction(test, { ...FACE, preset: "reference", seed: 1 });
    const events = await allEvents(test, prediction.id);
    expect(events.map((event) => Number(event.id))).toEqual(upTo(events.length));
    expect(stepNumbers(events)).toEqual(upTo(12));

    const steps = events
      .filter((event) => event.event === "step")
      .map((event) => JSON.parse(event.data) as { tokens: string; masked: number; timestep: number });
    expect(steps.map((step) => step.timestep)).toEqual(upTo(12).map((n) => 12 - n));
    for (const step of steps) {
      const tokens = new Uint16Array(Uint8Array.from(Buffer.from(step.tokens, "base64")).buffer);
      expect(tokens).toHaveLength(BUNDLED.tokens);
      expect(tokens.filter((token) => token === 1024)).toHaveLength(step.masked);
    }
    expect(steps.at(-1)?.masked).toBe(0);
    expect(events[0]?.event).toBe("started");
    expect(events.at(-1)?.event).toBe("done");
    expect((await getPrediction(test, prediction.id)).status).toBe("succeeded");
  });

  it("misses and doubles nothing when it is cut and resumed", async () => {
    const prediction = await createPrediction(test, { ...FACE, seed: 2 });
    const seen: EventSourceMessage[] = [];
    const cut = new AbortController();
    await expect(async () => {
      for await (const event of readEvents(test, prediction.id, { signal: cut.signal })) {
        seen.push(event);
        if (stepNumbers(seen).length === 5) cut.abort();
      }
    }).rejects.toThrow();
    const lastEventId = seen.at(-1)?.id ?? "";
    for await (const event of readEvents(test, prediction.id, { lastEventId })) seen.push(event);
    expect(seen.map((event) => Number(event.id))).toEqual(upTo(seen.length));
    expect(stepNumbers(seen)).toEqual(upTo(12));
    expect(seen.at(-1)?.event).toBe("done");
  });
});

describe("a cancellation", () => {
  it("is final at once and frees the worker", async () => {
    const prediction = await createPrediction(test, { prompt: "dog", num_inference_steps: 100 });
    for await (const event of readEvents(test, prediction.id)) {
      if (event.event === "step") break;
    }
    const canceled = await request(test, `/v1/predictions/${prediction.id}/cancel`, {});
    expect(await canceled.json()).toMatchObject({ id: prediction.id, status: "canceled" });
    const next = await createPrediction(test, { ...FACE, num_inference_steps: 2 }, { prefer: "wait" });
    expect(next.status).toBe("succeeded");
    const events = await allEvents(test, prediction.id);
    expect(events.at(-1)?.event).toBe("done");
    expect(stepNumbers(events).length).toBeLessThan(100);
    expect((await getPrediction(test, prediction.id)).status).toBe("canceled");
  });
});
