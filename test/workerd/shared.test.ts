// Sharing predictions: what others see by the link, and that it ends.

import { afterAll, beforeAll, expect, it } from "vitest";
import { sharedPredictionSchema, shareSchema } from "../../edge/api-docs/answers.ts";
import { call, ORIGIN, PlayedWorker } from "./support.ts";

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());

const open = (url: string): Promise<Response> => call(url.replace(ORIGIN, ""), { key: null });

it("shows a prediction to whoever has the link, until it is taken back or the prediction deleted", async () => {
  const body = { input: { prompt: "a", num_inference_steps: 2 } };
  const { id } = await (await call("/v1/predictions", { json: body })).json<{ id: string }>();
  const path = `/v1/predictions/${id}/share`;
  const share = async () => shareSchema.parse(await (await call(path, { method: "POST", json: {} })).json());
  const link = await share();
  expect(await share()).toEqual(link);
  expect(link.page).toBe(`${ORIGIN}/#run=${id}&share=${link.capability}`);

  // While it is waiting, and when it is done.
  expect(await (await open(link.url)).json()).toMatchObject({ id, status: "starting", output: null });
  await worker.play(await worker.take({ id }));
  await expect
    .poll(async () => (await (await open(link.url)).json<{ status: string }>()).status)
    .toBe("succeeded");
  const answer = await open(link.url);
  expect(answer.headers.get("cache-control")).toBe("no-store");
  const seen = sharedPredictionSchema.strict().parse(await answer.json());
  expect(seen.input).toMatchObject({ prompt: "a" });
  const [image = ""] = seen.output ?? [];
  expect(image.startsWith(`${link.url}/`)).toBe(true);
  const file = await open(image);
  expect([file.status, file.headers.get("cache-control")]).toEqual([200, "no-store"]);
  await file.arrayBuffer();
  const own = await (
    await call(`/v1/predictions/${id}`)
  ).json<{ output: string[]; urls: { shared?: string } }>();
  expect(own.urls.shared).toBe(link.url);
  const original = await (await open(own.output[0] ?? "")).arrayBuffer();
  expect(original.byteLength).toBe(Number(file.headers.get("content-length")));

  // Only its owner may share it; only this capability shows it.
  expect((await call(path, { method: "POST", json: {}, key: "other-key" })).status).toBe(404);
  const guess = link.capability.replace(/^./, (char) => (char === "0" ? "1" : "0"));
  expect((await open(link.url.replace(link.capability, guess))).status).toBe(404);
  expect((await open(image.replace(link.capability, guess))).status).toBe(404);
  expect((await open(`/v1/shared/${id}/null`)).status).toBe(404);

  expect((await call(path, { method: "DELETE" })).status).toBe(204);
  for (const url of [link.url, image]) expect((await open(url)).status).toBe(404);
  const again = await share();
  expect(again.capability).not.toBe(link.capability);
  expect((await open(again.url)).status).toBe(200);
  await call(`/v1/predictions/${id}`, { method: "DELETE" });
  expect((await open(again.url)).status).toBe(404);
});
