// Under `npm start` as on Cloudflare: an image whose client has disconnected is not computed to the end.

import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { getPrediction, readEvents, request } from "./support/client.ts";
import { startTestStack, type TestStack } from "./support/stack.ts";

const STEPS = 100;
const WAIT = { timeout: 30_000, interval: 10 };

let test: TestStack;
beforeAll(async () => {
  test = await startTestStack({ shortModel: true });
});
afterAll(() => test.stop());

/** Ids of the predictions that a worker has begun. */
const begun = (): string[] =>
  test.lines.flatMap(({ text }) => /^job started prediction=(\w+)/.exec(text)?.[1] ?? []);

/** The next prediction that a worker begins. */
async function nextBegun(before: readonly string[]): Promise<string> {
  await expect.poll(() => begun().length, WAIT).toBe(before.length + 1);
  return begun().at(-1) ?? "";
}

async function expectStopped(id: string): Promise<void> {
  await expect.poll(async () => (await getPrediction(test, id)).status, WAIT).toBe("canceled");
  const ended = (): boolean =>
    test.lines.some(({ text }) => text.startsWith("job canceled") && text.includes(id));
  await expect.poll(ended, WAIT).toBe(true);
  let steps = 0;
  for await (const { event } of readEvents(test, id)) if (event === "step") steps++;
  expect(steps).toBeLessThan(STEPS);
}

const body = (stream: boolean) => ({ prompt: "a tree", num_inference_steps: STEPS, stream });

it.each([false, true])("stops when the client aborts, with stream: %s", async (stream) => {
  const before = begun();
  const leaving = new AbortController();
  const answer = request(test, "/v1/images/generations", body(stream), { signal: leaving.signal });
  const id = await nextBegun(before);
  leaving.abort();
  await expect(answer.then((response) => response.text())).rejects.toThrow();
  await expectStopped(id);
});

it("stops when the client only closes its connection", async () => {
  const before = begun();
  const json = JSON.stringify(body(false));
  const socket = connect(Number(new URL(test.url).port), "127.0.0.1");
  socket.write(
    [
      "POST /v1/images/generations HTTP/1.1",
      "host: edge",
      `authorization: Bearer ${test.apiKey}`,
      "content-type: application/json",
      `content-length: ${json.length}`,
      "",
      json,
    ].join("\r\n"),
  );
  const id = await nextBegun(before);
  socket.end();
  await once(socket, "close");
  await expectStopped(id);
});

it("continues if the client has an idempotency key, and if only a reader of its events disconnects", async () => {
  const before = begun();
  const leaving = new AbortController();
  const steps = { prompt: "a tree", num_inference_steps: 20 };
  const init = { signal: leaving.signal, headers: { "idempotency-key": "again" } };
  const answer = request(test, "/v1/images/generations", steps, init);
  const id = await nextBegun(before);
  const looking = readEvents(test, id, { signal: leaving.signal });
  await looking.next();
  leaving.abort();
  await expect(answer).rejects.toThrow();
  await expect.poll(async () => (await getPrediction(test, id)).status, WAIT).toBe("succeeded");
});
