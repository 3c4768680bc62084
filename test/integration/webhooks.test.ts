// Webhooks to a real receiver: signed, filtered, tried again by the rules, not lost when the edge dies.

import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import OpenAI from "openai";
import Replicate, { validateWebhook } from "replicate";
import { Webhook as StandardWebhook } from "standardwebhooks";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type PredictionBody, request } from "./support/client.ts";
import { startTestStack, type TestStack } from "./support/stack.ts";

/** Delays of the schedule: five attempts within two seconds. */
const RETRY_SECONDS = [0, 0.2, 0.3, 0.4, 0.5];

interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly at: number;
}

/** Answers by path; keeps what it was sent. */
class Receiver {
  readonly received: Received[] = [];
  readonly #answers = new Map<string, (response: ServerResponse, count: number) => void>();
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(port = 0): Promise<Receiver> {
    const server = createServer();
    const receiver = new Receiver(server);
    server.on("request", (incoming, response) => {
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("end", () => {
        const path = incoming.url ?? "";
        const body = Buffer.concat(chunks).toString();
        receiver.received.push({ path, headers: incoming.headers, body, at: Date.now() });
        const answer = receiver.#answers.get(path);
        if (answer === undefined) response.writeHead(204).end();
        else answer(response, receiver.on(path).length);
      });
    });
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    return receiver;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.port}${path}`;
  }

  /** How requests to `path` are answered; `count` is 1 for the first. */
  answer(path: string, answer: (response: ServerResponse, count: number) => void): void {
    this.#answers.set(path, answer);
  }

  on(path: string): Received[] {
    return this.received.filter((one) => one.path === path);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

let test: TestStack;
let receiver: Receiver;
beforeAll(async () => {
  receiver = await Receiver.start();
  test = await startTestStack({
    workers: 1,
    shortModel: true,
    edgeEnv: { WEBHOOK_ALLOW_LOOPBACK: "true", WEBHOOK_RETRY_SECONDS: RETRY_SECONDS.join(",") },
  });
});
afterAll(async () => {
  await test.stop();
  await receiver.stop();
});

const PATIENCE = { timeout: 30_000, interval: 50 };

async function create(
  path: string,
  events: readonly string[] = ["completed"],
  steps = 2,
): Promise<PredictionBody> {
  const response = await request(test, "/v1/predictions", {
    input: { prompt: "dog", num_inference_steps: steps, seed: 1 },
    webhook: receiver.url(path),
    webhook_events_filter: events,
  });
  expect(response.status).toBe(201);
  return (await response.json()) as PredictionBody;
}

interface AttemptLog {
  results: {
    id: string;
    event: string;
    state: string;
    attempts: { status: number | null; error: string | null }[];
  }[];
}
const attemptsOf = async (id: string): Promise<AttemptLog["results"]> =>
  ((await (await request(test, `/v1/predictions/${id}/webhook-attempts`)).json()) as AttemptLog).results;
/** Waits until the webhook of the end is settled, and gives it. */
async function settled(id: string): Promise<AttemptLog["results"][number]> {
  let last: AttemptLog["results"][number] | undefined;
  await expect
    .poll(async () => {
      last = (await attemptsOf(id)).find(({ event }) => event === "completed");
      return last?.state;
    }, PATIENCE)
    .toMatch(/delivered|failed|disabled/);
  if (last === undefined) throw new Error("no webhook");
  return last;
}
const secret = async (): Promise<string> =>
  ((await (await request(test, "/v1/webhooks/default/secret")).json()) as { key: string }).key;

describe("a webhook", () => {
  it("is verified by the clients that people have, and not when a byte is changed", async () => {
    const { id } = await create("/signed");
    await expect.poll(() => receiver.on("/signed").length, PATIENCE).toBe(1);
    const [{ headers, body }] = receiver.on("/signed") as [Received];
    const replicate = new Replicate({ auth: test.apiKey, baseUrl: `${test.url}/v1` });
    const { key } = await replicate.webhooks.default.secret.get();
    expect(key).toBe(await secret());
    const signed = {
      "webhook-id": String(headers["webhook-id"]),
      "webhook-timestamp": String(headers["webhook-timestamp"]),
      "webhook-signature": String(headers["webhook-signature"]),
    };
    expect(new StandardWebhook(key).verify(body, signed)).toMatchObject({ id, status: "succeeded" });
    const named = { id: signed["webhook-id"], timestamp: signed["webhook-timestamp"], body, secret: key };
    expect(await validateWebhook({ ...named, signature: signed["webhook-signature"] })).toBe(true);
    const openai = new OpenAI({ apiKey: "none", webhookSecret: key });
    expect(await openai.webhooks.unwrap(body, signed)).toMatchObject({ id });

    const changed = body.replace("succeeded", "succeedee");
    expect(() => new StandardWebhook(key).verify(changed, signed)).toThrow();
    expect(await validateWebhook({ ...named, body: changed, signature: signed["webhook-signature"] })).toBe(
      false,
    );
    await expect(openai.webhooks.unwrap(changed, signed)).rejects.toThrow();
    const parsed = JSON.parse(body) as PredictionBody;
    expect(parsed.output?.[0]).toMatch(new RegExp(`^${test.url}/v1/files/`));
    expect((await fetch(parsed.output?.[0] ?? "")).status).toBe(200);
  });

  it("tells of the events that were asked for, in order", async () => {
    const { id } = await create("/all", ["start", "output", "logs", "completed"]);
    await settled(id);
    const statuses = receiver.on("/all").map(({ body }) => JSON.parse(body) as PredictionBody);
    expect(statuses.every((one) => one.id === id)).toBe(true);
    expect(statuses[0]?.status).toBe("processing");
    expect(statuses.at(-1)?.status).toBe("succeeded");
    const events = (await attemptsOf(id)).map(({ event }) => event);
    expect(events[0]).toBe("start");
    expect(events.at(-1)).toBe("completed");
    // Those on the way may be overtaken by the end.
    expect(["start", "output", "logs", "completed"]).toEqual(expect.arrayContaining(events));
    expect(statuses.filter(({ status }) => status === "succeeded")).toHaveLength(1);
  });

  it("also tells of a cancellation", async () => {
    const { id } = await create("/canceled", ["completed"], 100);
    await request(test, `/v1/predictions/${id}/cancel`, {});
    await expect.poll(() => receiver.on("/canceled").length, PATIENCE).toBe(1);
    expect(JSON.parse(receiver.on("/canceled")[0]?.body ?? "")).toMatchObject({ id, status: "canceled" });
  });
});

describe("a receiver", () => {
  it("that answers 500 twice gets it a third time, under the same id, with new timestamps and equal bodies", async () => {
    receiver.answer("/flaky", (response, count) => void response.writeHead(count <= 2 ? 500 : 200).end());
    const { id } = await create("/flaky");
    const delivery = await settled(id);
    expect(delivery).toMatchObject({ state: "delivered" });
    expect(delivery.attempts.map(({ status }) => status)).toEqual([500, 500, 200]);
    const got = receiver.on("/flaky");
    expect(new Set(got.map(({ headers }) => headers["webhook-id"]))).toEqual(new Set([delivery.id]));
    expect(new Set(got.map(({ body }) => body)).size).toBe(1);
    const gaps = got.slice(1).map(({ at }, i) => at - (got[i]?.at ?? 0));
    for (const [i, gap] of gaps.entries())
      expect(gap).toBeGreaterThanOrEqual((RETRY_SECONDS[i + 1] ?? 0) * 1_000 - 5);
  });

  it("that never succeeds is given up after the last attempt; the start is tried once", async () => {
    receiver.answer("/broken", (response) => void response.writeHead(503).end("secrets of the receiver"));
    const { id } = await create("/broken", ["start", "completed"]);
    const delivery = await settled(id);
    expect(delivery.state).toBe("failed");
    expect(delivery.attempts).toHaveLength(RETRY_SECONDS.length);
    const all = await attemptsOf(id);
    expect(all.find(({ event }) => event === "start")).toMatchObject({
      state: "failed",
      attempts: [{ status: 503 }],
    });
    expect(JSON.stringify(all)).not.toContain("secrets of the receiver");
  });

  it("that redirects is not followed", async () => {
    receiver.answer("/redirect", (response) => {
      response.writeHead(307, { location: receiver.url("/elsewhere") }).end();
    });
    const { id } = await create("/redirect");
    expect(await settled(id)).toMatchObject({
      state: "failed",
      attempts: RETRY_SECONDS.map(() => ({ status: 307, error: "redirects are not followed" })),
    });
    expect(receiver.on("/elsewhere")).toEqual([]);
  });

  it("that is gone is asked no more", async () => {
    receiver.answer("/gone", (response) => void response.writeHead(410).end());
    const { id } = await create("/gone");
    expect(await settled(id)).toMatchObject({ state: "disabled", attempts: [{ status: 410 }] });
  });

  it("is left alone as long as it asks for", async () => {
    receiver.answer("/busy", (response, count) => {
      response.writeHead(count === 1 ? 429 : 200, { "retry-after": "1" }).end();
    });
    const { id } = await create("/busy");
    expect(await settled(id)).toMatchObject({ state: "delivered" });
    const [first, second] = receiver.on("/busy");
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(990);
  });

  it("that hangs holds up nobody else", async () => {
    const hanging: ServerResponse[] = [];
    receiver.answer("/hangs", (response) => void hanging.push(response));
    await create("/hangs");
    await expect.poll(() => hanging.length, PATIENCE).toBe(1);
    const { id } = await create("/quick");
    expect(await settled(id)).toMatchObject({ state: "delivered" });
    expect(receiver.on("/hangs")).toHaveLength(1);
    for (const response of hanging) response.writeHead(204).end();
  });

  it("that is down while the edge dies gets it when both are back", async () => {
    const other = await Receiver.start();
    const { port } = other;
    await other.stop();
    const response = await request(test, "/v1/predictions", {
      input: { prompt: "dog", num_inference_steps: 2 },
      webhook: `http://127.0.0.1:${port}/late`,
      webhook_events_filter: ["completed"],
    });
    const { id } = (await response.json()) as PredictionBody;
    await expect
      .poll(async () => (await attemptsOf(id))[0]?.attempts[0]?.error, PATIENCE)
      .toBe("no connection");
    const back = await Receiver.start(port);
    try {
      await test.stack.edge.kill();
      await test.stack.waitReady();
      // The schedule may have ended meanwhile; then it is asked for once more.
      if ((await settled(id)).state !== "delivered") {
        expect((await request(test, `/v1/predictions/${id}/webhook-attempts/redeliver`, {})).status).toBe(
          202,
        );
      }
      await expect.poll(() => back.on("/late").length, PATIENCE).toBe(1);
      expect(back.on("/late")[0]?.headers["webhook-id"]).toBe((await attemptsOf(id))[0]?.id);
    } finally {
      await back.stop();
    }
  });
});

describe("callers", () => {
  it("have it sent again", async () => {
    const { id } = await create("/again");
    const delivery = await settled(id);
    expect((await request(test, `/v1/predictions/${id}/webhook-attempts/redeliver`, {})).status).toBe(202);
    await expect.poll(() => receiver.on("/again").length, PATIENCE).toBe(2);
    const ids = receiver.on("/again").map(({ headers }) => headers["webhook-id"]);
    expect(ids).toEqual([delivery.id, delivery.id]);
  });

  it("rotate the secret: both sign for a while", async () => {
    const old = await secret();
    const rotated = await request(test, "/v1/webhooks/default/secret/rotate", {});
    const { key } = (await rotated.json()) as { key: string };
    expect(key).not.toBe(old);
    expect(await secret()).toBe(key);
    await create("/rotated");
    await expect.poll(() => receiver.on("/rotated").length, PATIENCE).toBe(1);
    const [{ headers, body }] = receiver.on("/rotated") as [Received];
    for (const one of [old, key]) {
      expect(() => new StandardWebhook(one).verify(body, headers as Record<string, string>)).not.toThrow();
    }
  });

  it.each<[object, string]>([
    [{ webhook: "https://169.254.169.254/latest" }, "webhook"],
    [{ webhook: "http://10.0.0.1/" }, "webhook"],
    [{ webhook: "nonsense" }, "webhook"],
    [{ webhook: 5 }, "webhook"],
    [{ webhook_events_filter: ["completed"] }, "webhook_events_filter"],
    [{ webhook: "https://example.com", webhook_events_filter: ["finished"] }, "webhook_events_filter.0"],
  ])("are told what is wrong with %j", async (fields, path) => {
    const response = await request(test, "/v1/predictions", { input: { prompt: "dog" }, ...fields });
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ errors: [{ path }] });
  });
});
