// @vqd/client inside a Worker, against the edge.

import { exports } from "cloudflare:workers";
import { afterAll, beforeAll, expect, it } from "vitest";
import { VqdClient } from "../../edge/pages/client/index.js";
import { KEY, MODEL, ORIGIN, PlayedWorker } from "./support.ts";

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());

it("follows a prediction, and paints its tokens", async () => {
  const client = new VqdClient({
    baseUrl: ORIGIN,
    apiKey: KEY,
    fetch: (url, init) => exports.default.fetch(new Request(url, init)),
  });
  const created = await client.create(
    { prompt: "a red apple", num_inference_steps: 2 },
    { model: MODEL.name },
  );
  const [events] = await Promise.all([
    Array.fromAsync(client.events(created)),
    worker.take({ id: created.id }).then((job) => worker.play(job)),
  ]);
  const kinds = events.map(({ type }) => type);
  expect([kinds[0], kinds.at(-1)]).toEqual(["started", "done"]);
  expect(kinds.filter((kind) => kind === "step")).toHaveLength(2);
  const palette = await client.palette(created.model, created.version);
  expect(palette).toMatchObject({ width: 2, height: 2, mask: 128 });
  expect([...palette.rgb.subarray(0, 3)]).toEqual([0x10, 0x80, 0xf0]);
});
