// Events that are sent to try a receiver: what it gets, to where nothing is sent, and how many at once.

import { env } from "cloudflare:workers";
import { Webhook } from "standardwebhooks";
import { afterEach, expect, it, vi } from "vitest";
import { predictionSchema, problemSchema } from "../../edge/api-docs/answers.ts";
import { testedWebhookSchema } from "../../edge/api-docs/webhooks.ts";
import { storeKey } from "./stored-key.ts";
import { call } from "./support.ts";

afterEach(() => void vi.restoreAllMocks());

const at = (path: string): string => `http://127.0.0.1:${env.RECEIVER_PORT}${path}`;
const received = async (path: string): Promise<string[]> => (await fetch(at(path))).json();
const send = (url: string, key: string): Promise<Response> =>
  call("/v1/webhooks/default/test", { json: { url }, key });
const outcome = async (response: Promise<Response>) =>
  testedWebhookSchema.parse(await (await response).json());

it("is signed, looks like a prediction that succeeded, and says that it is none", async () => {
  const key = await storeKey();
  const sent = vi.spyOn(globalThis, "fetch");
  const answer = await outcome(send(at("/trial"), key));
  expect(answer).toMatchObject({ delivered: true, status: 204, error: null });
  const [body = ""] = await received("/trial");
  const { key: secret } = await (await call("/v1/webhooks/default/secret", { key })).json<{ key: string }>();
  const headers = sent.mock.calls.find(([url]) => url === at("/trial"))?.[1]?.headers as Record<
    string,
    string
  >;
  expect(headers["webhook-id"]).toBe(answer.id);
  const event = new Webhook(secret).verify(body, headers);
  expect(predictionSchema.extend({ test: predictionSchema.shape.data_removed }).parse(event)).toMatchObject({
    id: "test",
    test: true,
    status: "succeeded",
    webhook: at("/trial"),
  });
});

it("says what a receiver answers, whatever that is", async () => {
  const key = await storeKey();
  const answering = (response: () => Promise<Response>): void =>
    void vi.spyOn(globalThis, "fetch").mockImplementation(response);
  answering(async () => new Response("a secret of theirs", { status: 500 }));
  const failed = await send(at("/x"), key);
  expect(await failed.clone().text()).not.toContain("secret");
  expect(await outcome(Promise.resolve(failed))).toMatchObject({
    delivered: false,
    status: 500,
    error: null,
  });
  answering(async () => new Response(null, { status: 302, headers: { location: "http://10.0.0.1/" } }));
  expect(await outcome(send(at("/x"), key))).toMatchObject({
    delivered: false,
    status: 302,
    error: "redirects are not followed",
  });
  answering(() => Promise.reject(new TypeError("refused")));
  expect(await outcome(send(at("/x"), key))).toMatchObject({ status: null, error: "no connection" });
  answering(() => Promise.reject(new DOMException("late", "TimeoutError")));
  expect(await outcome(send(at("/x"), key))).toMatchObject({
    status: null,
    error: "no response within 15 s",
  });
  // As of webhooks, a receiver that hangs gets less time.
  expect(await outcome(send(at("/x"), key))).toMatchObject({ error: "no response within 5 s" });
});

it.each([
  "https://10.0.0.1/hook",
  "https://169.254.169.254/latest/meta-data",
  "https://[::ffff:10.0.0.1]/",
  "https://metadata.google.internal/",
  "https://user:password@example.com/",
  "https://example.com:25/",
  "http://example.com/",
  "file:///etc/passwd",
  "nonsense",
  "",
])("is not sent to %s", async (url) => {
  const sent = vi.spyOn(globalThis, "fetch");
  const response = await send(url, await storeKey());
  expect(response.status).toBe(422);
  expect(problemSchema.parse(await response.json()).errors).toMatchObject([{ path: "url" }]);
  expect(sent).not.toHaveBeenCalled();
});

it("is one of few at once to one receiver, and of few per minute", async () => {
  const key = await storeKey();
  const held = Array.from({ length: 4 }, () => outcome(send(at("/held/trial"), key)));
  await expect.poll(() => received("/held/trial")).toHaveLength(4);
  // To another name of that host, or by another owner, there is room.
  expect(await outcome(send(at("/trial").replace("127.0.0.1", "localhost"), key))).toMatchObject({
    status: 204,
  });
  expect(await outcome(send(at("/trial"), await storeKey()))).toMatchObject({ status: 204 });
  const fifth = await send(at("/held/trial"), key);
  expect([fifth.status, fifth.headers.get("retry-after")]).toEqual([429, "2"]);
  await fetch(at("/held/trial?status=200"), { method: "DELETE" });
  expect(await Promise.all(held)).toMatchObject(Array.from({ length: 4 }, () => ({ status: 200 })));

  const greedy = await storeKey();
  const statuses: number[] = [];
  while (statuses.length < 12 && statuses.at(-1) !== 429)
    statuses.push((await send(at("/trial"), greedy)).status);
  expect(statuses).toEqual([...Array.from({ length: 10 }, () => 200), 429]);
});

it("needs the scope of whoever may have webhooks sent, and nothing but a URL", async () => {
  expect((await send(at("/trial"), await storeKey({ scopes: ["read", "admin"] }))).status).toBe(403);
  const key = await storeKey({ scopes: ["create"] });
  expect((await send(at("/trial"), key)).status).toBe(200);
  const more = await call("/v1/webhooks/default/test", { json: { url: at("/trial"), secret: "x" }, key });
  expect(problemSchema.parse(await more.json()).errors).toMatchObject([{ path: "secret" }]);
});
