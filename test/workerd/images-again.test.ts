// OpenAI's images endpoint when a request is sent again with its Idempotency-Key, and when Cancel-After ends it.

import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, hubs, IMAGE, PlayedWorker } from "./support.ts";

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(async () => {
  await worker.close();
});

const generate = (body: object, headers: Record<string, string> = {}): Promise<Response> =>
  call("/v1/images/generations", { json: { prompt: "a cat", num_inference_steps: 1, ...body }, headers });

/** Moves one of a prediction's times by so many seconds, and lets the hub see it. */
async function move(column: "completed_at" | "queue_deadline_at" | "cancel_at", id: string, seconds: number) {
  const hub = hubs.ofKey("test");
  await runInDurableObject(hub, (_, state) => {
    const at = Date.now() + seconds * 1_000;
    state.storage.sql.exec(`UPDATE predictions SET ${column} = ? WHERE id = ?`, at, id);
    return state.storage.setAlarm(Date.now() + 60_000);
  });
  await runDurableObjectAlarm(hub);
}

describe("images that are requested again", () => {
  it.each<[{ seed: number; response_format?: string; stream?: boolean }]>([
    [{ seed: 501, response_format: "b64_json" }],
    [{ seed: 502, response_format: "url" }],
    [{ seed: 503, stream: true }],
  ])("are the same ones, until they have expired: %j", async (body) => {
    const headers = { "idempotency-key": crypto.randomUUID() };
    const first = generate(body, headers);
    const job = await worker.take({ seed: body.seed });
    await worker.play(job);
    const text = await (await first).text();
    expect(text).toMatch(body.response_format === "url" ? /"url":/ : btoa(String.fromCharCode(...IMAGE)));
    const again = await generate(body, headers);
    expect([again.status, await again.text()]).toEqual([200, text]);

    await move("completed_at", job.id, -100_000);
    const late = await generate(body, headers);
    expect([late.status, late.headers.get("x-should-retry")]).toEqual([410, "false"]);
    const { error } = await late.json<{ error: { message: string } }>();
    expect(error).toMatchObject({ type: "invalid_request_error", param: null, code: "images_expired" });
    expect(error.message).toContain(job.id);
  });

  it("are not retried automatically once their prediction has failed", async () => {
    const ended = async (seed: number, headers: Record<string, string>): Promise<Response> => {
      const answered = generate({ seed }, headers);
      const { id } = await worker.take({ seed });
      await move("queue_deadline_at", id, -1);
      return answered;
    };
    const expectFailure = async (response: Response, shouldRetry: boolean): Promise<void> => {
      expect(response.status).toBe(503);
      expect(response.headers.get("x-should-retry")).toBe(String(shouldRetry));
      expect(response.headers.get("retry-after")).toBe(shouldRetry ? "5" : null);
      expect(await response.json()).toMatchObject({ error: { code: "no_worker" } });
    };
    // Without a key another request makes another prediction.
    await expectFailure(await ended(504, {}), true);
    const headers = { "idempotency-key": crypto.randomUUID() };
    await expectFailure(await ended(505, headers), false);
    await expectFailure(await generate({ seed: 505 }, headers), false);
  });
});

describe("Cancel-After", () => {
  it("ends the prediction, started or not", async () => {
    for (const [seed, isStarted] of [
      [506, false],
      [507, true],
    ] as const) {
      const answered = generate({ seed }, { "cancel-after": "1h" });
      const job = await worker.take({ seed });
      if (isStarted) {
        await worker.say(job, { type: "started", worker: "w", numericsId: "n", resumedFrom: 0, total: 1 });
        const status = async (): Promise<string> =>
          (await (await call(`/v1/predictions/${job.id}`)).json<{ status: string }>()).status;
        await expect.poll(status).toBe("processing");
      }
      await move("cancel_at", job.id, 0);
      const response = await answered;
      expect(response.status).toBe(409);
      expect(response.headers.get("x-should-retry")).toBe("false");
      expect(await response.json()).toMatchObject({ error: { code: "canceled" } });
    }
  });

  it("is refused if it is not a duration", async () => {
    const response = await generate({ seed: 508 }, { "cancel-after": "bogus" });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { param: "Cancel-After", code: "invalid_value" } });
  });
});
