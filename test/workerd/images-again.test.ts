// OpenAI's images endpoint when a request is sent again with its Idempotency-Key, and when Cancel-After ends it.

import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Job } from "../../shared/job.ts";
import { call, hubOf, IMAGE, PlayedWorker } from "./support.ts";

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
async function move(
  column: "completed_at" | "queue_deadline_at" | "cancel_at" | "abandoned_until",
  id: string,
  seconds: number,
) {
  const hub = hubOf("test");
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

describe("a client that tries again by itself", () => {
  const TRY = "x-stainless-retry-count";

  /** Sends a request, and disconnects as soon as a worker has its job. */
  async function leave(body: { seed: number }, headers: Record<string, string>): Promise<Job> {
    const leaving = new AbortController();
    const json = { prompt: "a cat", num_inference_steps: 1, ...body };
    const answer = call("/v1/images/generations", { json, headers, signal: leaving.signal });
    const job = await worker.take({ seed: body.seed });
    leaving.abort();
    await expect(answer).rejects.toThrow();
    return job;
  }
  const rowOf = (id: string): Promise<{ status: string; until: number | null }> =>
    runInDurableObject(hubOf("test"), (_, state) =>
      state.storage.sql
        .exec<{ status: string; until: number | null }>(
          "SELECT status, abandoned_until AS until FROM predictions WHERE id = ?",
          id,
        )
        .one(),
    );
  const madeWith = async (seed: number): Promise<string[]> => {
    const { results } = await (
      await call("/v1/predictions")
    ).json<{ results: { id: string; input: { seed: number } }[] }>();
    return results.filter(({ input }) => input.seed === seed).map(({ id }) => id);
  };

  it("rejoins its prediction, once, and as its only client", async () => {
    const job = await leave({ seed: 511 }, { [TRY]: "0" });
    await expect.poll(async () => (await rowOf(job.id)).until).toBeGreaterThan(Date.now());
    const again = generate({ seed: 511 }, { [TRY]: "1" });
    await expect.poll(() => rowOf(job.id)).toEqual({ status: "starting", until: null });
    // Another try does not find it any more: somebody is waiting for it.
    const other = generate({ seed: 511 }, { [TRY]: "1" });
    await expect.poll(async () => (await madeWith(511)).length).toBe(2);
    await worker.play(job);
    expect(await (await again).json()).toMatchObject({ prediction_id: job.id });
    const second = await worker.take({ seed: 511 });
    expect(second.id).not.toBe(job.id);
    await worker.play(second);
    expect(await (await other).json()).toMatchObject({ prediction_id: second.id });
  });

  it("finds only its own request, with its own key", async () => {
    const job = await leave({ seed: 512 }, { [TRY]: "0" });
    await expect.poll(async () => (await rowOf(job.id)).until).not.toBeNull();
    const leaving = new AbortController();
    const json = { prompt: "a cat", num_inference_steps: 1, seed: 512 };
    const others = [
      // The first try of somebody who asks for the same.
      call("/v1/images/generations", { json, headers: { [TRY]: "0" }, signal: leaving.signal }),
      call("/v1/images/generations", { json, signal: leaving.signal }),
      call("/v1/images/generations", {
        json: { ...json, n: 2 },
        headers: { [TRY]: "1" },
        signal: leaving.signal,
      }),
      call("/v1/images/generations", {
        json,
        headers: { [TRY]: "1" },
        key: "other-key",
        signal: leaving.signal,
      }),
    ];
    await expect.poll(async () => (await madeWith(512)).length).toBe(4);
    expect((await rowOf(job.id)).until).not.toBeNull();
    leaving.abort();
    await Promise.allSettled(others);
  });

  it("has what it left canceled if it does not come back", async () => {
    const job = await leave({ seed: 513 }, { [TRY]: "0" });
    await expect.poll(async () => (await rowOf(job.id)).until).not.toBeNull();
    const stopped = worker.canceled(job.id);
    await worker.nc.flush();
    await move("abandoned_until", job.id, -1);
    expect((await rowOf(job.id)).status).toBe("canceled");
    await stopped;
  });
});
