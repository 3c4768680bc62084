// Predictions with ids that callers give them (PUT).

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, ORIGIN, PlayedWorker } from "./support.ts";

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());

interface Prediction {
  id: string;
  status: string;
  output: string[] | null;
  urls: Record<"get" | "cancel" | "events" | "stream", string>;
  errors: { path: string; message: string }[];
}

const INPUT = { prompt: "a", num_inference_steps: 2 };
const put = (id: string, input: object = {}, headers: Record<string, string> = {}, key = "test-key") =>
  call(`/v1/predictions/${id}`, {
    method: "PUT",
    body: JSON.stringify({ input: { ...INPUT, ...input } }),
    headers: { "content-type": "application/json", ...headers },
    key,
  });
const remove = (id: string, key = "test-key") => call(`/v1/predictions/${id}`, { method: "DELETE", key });
const newId = (): string => `order-${crypto.randomUUID()}.cover`;

describe("PUT", () => {
  it("creates a prediction that is found by its id everywhere", async () => {
    const id = newId();
    const response = await put(id, { seed: 707 });
    expect(response.status).toBe(201);
    expect(response.headers.get("location")).toBe(`${ORIGIN}/v1/predictions/${id}`);
    const created = await response.json<Prediction>();
    expect(created).toMatchObject({ id, urls: { get: `${ORIGIN}/v1/predictions/${id}` } });
    const job = await worker.take({ seed: 707 });
    expect(job.id).not.toBe(id);
    await worker.play(job);
    const path = `/v1/predictions/${id}`;
    await expect.poll(async () => (await (await call(path)).json<Prediction>()).status).toBe("succeeded");
    expect(await (await call(`${path}/events`)).text()).toContain("event: done");
    expect(await (await call(created.urls.stream.replace(ORIGIN, ""))).text()).toContain("event: done");
    expect((await call(`${path}/webhook-attempts`)).status).toBe(200);
    expect(await (await call(`${path}/cancel`, { method: "POST" })).json()).toMatchObject({
      id,
      status: "succeeded",
    });
    const { results } = await (await call("/v1/predictions?limit=1")).json<{ results: Prediction[] }>();
    expect(results[0]?.id).toBe(id);
    // The service's own id finds it too.
    expect(await (await call(`/v1/predictions/${job.id}`)).json()).toMatchObject({ id });
    expect((await remove(id)).status).toBe(204);
    expect((await call(path)).status).toBe(404);
  });

  it("sent again returns the same prediction, and is refused if it asks for another", async () => {
    const id = newId();
    const answers = await Promise.all(Array.from({ length: 4 }, () => put(id)));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 200, 200, 201]);
    const other = await put(id, { seed: 1 });
    expect(await other.json()).toMatchObject({
      status: 422,
      code: "idempotency_key_reused",
      errors: [{ path: "id", message: "was already used for a different request" }],
    });
    await remove(id);
    // Free again, for a prediction of its own.
    const again = await put(id, { seed: 708 });
    expect(again.status).toBe(201);
    await worker.take({ seed: 708 });
    await remove(id);
  });

  it("waits as POST does", async () => {
    const id = newId();
    const waiting = put(id, { seed: 709 }, { prefer: "wait=10" });
    await worker.play(await worker.take({ seed: 709 }));
    expect(await (await waiting).json()).toMatchObject({ id, status: "succeeded" });
  });

  it("gives each owner ids of their own", async () => {
    const id = newId();
    expect((await put(id)).status).toBe(201);
    expect((await call(`/v1/predictions/${id}`, { key: "other-key" })).status).toBe(404);
    expect((await put(id, { seed: 3 }, {}, "other-key")).status).toBe(201);
    expect((await remove(id)).status).toBe(204);
    expect((await call(`/v1/predictions/${id}`, { key: "other-key" })).status).toBe(200);
    expect((await remove(id, "other-key")).status).toBe(204);
  });

  it.each([
    ["an id that the service could assign", "0".repeat(26)],
    ["an id that is too long", "a".repeat(101)],
    ["a leading dot", ".a"],
    ["other characters", "a%20b"],
    ["a name in another script", "%E2%98%83"],
  ])("refuses %s", async (_, id) => {
    const response = await put(id);
    expect(response.status).toBe(422);
    expect((await response.json<Prediction>()).errors).toMatchObject([
      { path: "id", message: /must be 1 to 100/ },
    ]);
  });

  it("refuses another key beside the id, and no header's key takes the place of an id", async () => {
    const id = newId();
    const both = await put(id, {}, { "idempotency-key": "x" });
    expect(await both.json()).toMatchObject({ status: 422, errors: [{ path: "Idempotency-Key" }] });
    const json = { input: INPUT };
    const posted = await call("/v1/predictions", { json, headers: { "idempotency-key": id } });
    expect(posted.status).toBe(201);
    expect((await call(`/v1/predictions/${id}`)).status).toBe(404);
    await remove((await posted.json<Prediction>()).id);
  });
});
