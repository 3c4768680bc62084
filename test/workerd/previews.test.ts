// Previews of a prediction: asked for, shown once, kept as files for as long as the images.

import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterAll, beforeAll, expect, it } from "vitest";
import { call, hubs, IMAGE, ORIGIN, outputEvent, PlayedWorker, previewEvent, stepEvent } from "./support.ts";

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(async () => {
  await worker.close();
});

it("are events with a file, in order and without repetition after another worker has taken over", async () => {
  const created = await call("/v1/predictions", {
    json: { input: { prompt: "a", num_inference_steps: 4, num_previews: 2, num_outputs: 2, seed: 301 } },
  });
  expect(created.status).toBe(201);
  const { id } = await created.json<{ id: string }>();
  const job = await worker.take({ id });
  expect(job).toMatchObject({ previews: 2, outputQuality: 100 });

  const start = { type: "started", worker: "w", numericsId: "n", total: 4 } as const;
  const say = (said: [Parameters<PlayedWorker["say"]>[1], Uint8Array?], attempt = 1): Promise<void> =>
    worker.say(job, said[0], said[1], attempt);
  await say([{ ...start, resumedFrom: 0 }]);
  await say(stepEvent(1, 4, 2));
  await say(previewEvent(0, 1, 0));
  await say(previewEvent(0, 1, 1));
  // The second worker goes on from before the step that was shown.
  await say([{ ...start, resumedFrom: 0 }], 2);
  await say(stepEvent(1, 4, 2), 2);
  await say(previewEvent(0, 1, 0), 2);
  await say(previewEvent(0, 1, 1), 2);
  await say(stepEvent(3, 4, 2), 2);
  await say(previewEvent(1, 3, 0), 2);
  await say(previewEvent(1, 3, 1), 2);
  await say(outputEvent(0), 2);
  await say(outputEvent(1), 2);
  await say([{ type: "succeeded", predictSeconds: 1 }], 2);

  const stream = await (await call(`/v1/predictions/${id}/events`)).text();
  const shown = [...stream.matchAll(/^event: preview\ndata: (.*)$/gm)].map(
    ([, data = ""]) => JSON.parse(data) as { index: number; preview: number; step: number; url: string },
  );
  expect(shown).toMatchObject([
    { preview: 0, index: 0, step: 1 },
    { preview: 0, index: 1, step: 1 },
    { preview: 1, index: 0, step: 3 },
    { preview: 1, index: 1, step: 3 },
  ]);
  const urls = shown.map(({ url }) => url);
  expect(new Set(urls).size).toBe(4);
  const fetchFile = (url = ""): Promise<Response> => call(url.slice(ORIGIN.length), { key: null });
  expect(new Uint8Array(await (await fetchFile(urls[3])).arrayBuffer())).toEqual(IMAGE);

  const hub = hubs.ofShard(job.shard);
  await runInDurableObject(hub, (_, state) => {
    const at = Date.now() - 100_000_000;
    state.storage.sql.exec("UPDATE predictions SET completed_at = ? WHERE id = ?", at, id);
    return state.storage.setAlarm(Date.now() + 60_000);
  });
  await runDurableObjectAlarm(hub);
  for (const url of urls) expect((await fetchFile(url)).status).toBe(404);
});
