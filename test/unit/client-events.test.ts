// The client's parser of server-sent events, against another one; its events, resumed after disconnects; tokens as pixels.

import { createParser, type EventSourceMessage } from "eventsource-parser";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { pixelsOf, tokensOf, VqdClient, type VqdError } from "../../edge/pages/client/index.js";
import { messagesOf } from "../../edge/pages/client/sse.js";

const encoder = new TextEncoder();
const streamOf = (chunks: readonly Uint8Array<ArrayBuffer>[]): ReadableStream<Uint8Array<ArrayBuffer>> =>
  new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });

it("messages are those that eventsource-parser finds, wherever the bytes are cut", async () => {
  const line = fc.oneof(
    fc.constantFrom("", "data", "data:", "data: a", "event: step", "id: 7", "id: ", ": comment", "retry: 9"),
    fc.string({ maxLength: 12 }).map((text) => `data: ${text.replaceAll(/[\r\n]/g, "")}☃`),
  );
  const lines = fc.array(fc.tuple(line, fc.constantFrom("\n", "\r\n", "\r")), { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(lines, fc.array(fc.nat(400), { maxLength: 8 }), async (parts, cuts) => {
      const text = `${parts.map(([content, end]) => content + end).join("")}\n`;
      const bytes = encoder.encode(text);
      const at = [0, ...cuts.filter((cut) => cut < bytes.length).toSorted((a, b) => a - b), bytes.length];
      const chunks = at.slice(1).map((end, i) => bytes.slice(at[i], end));
      const expected: { type: string; data: string }[] = [];
      const onEvent = ({ event, data }: EventSourceMessage) =>
        void expected.push({ type: event === undefined || event === "" ? "message" : event, data });
      createParser({ onEvent }).feed(text);
      const got = await Array.fromAsync(messagesOf(streamOf(chunks)));
      expect(got.map(({ type, data }) => ({ type, data }))).toEqual(expected);
    }),
    { numRuns: 300, seed: 20_261_129 },
  );
});

const frame = (id: number, type: string, data: unknown): string =>
  `id: ${id}\nevent: ${type}\ndata: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;

/** A client whose requests get these answers in turn, and the URLs that it asks for. */
function clientOf(answers: readonly (string | Response | Error)[]): { client: VqdClient; urls: string[] } {
  const urls: string[] = [];
  const send = (url: unknown): Promise<Response> => {
    urls.push(String(url));
    const answer = answers[urls.length - 1] ?? new Response(null, { status: 204 });
    if (answer instanceof Error) return Promise.reject(answer);
    return Promise.resolve(typeof answer === "string" ? new Response(answer) : answer);
  };
  return { client: new VqdClient({ baseUrl: "https://vqd.test/at/", fetch: send }), urls };
}

describe("events", () => {
  const step = { step: 1, total: 2, timestep: 1, masked: 1, images: 2, tokens: btoa("\u0001\0\u0002\0") };

  it("go on after the last one when the connection is lost", async () => {
    const lost: number[] = [];
    const { client, urls } = clientOf([
      frame(1, "started", {}) + frame(2, "step", step) + "id: 3\nevent: lo",
      new TypeError("network"),
      frame(3, "logs", "50%") + frame(4, "done", { status: "succeeded" }),
    ]);
    const events = await Array.fromAsync(
      client.events({ id: "a b" }, { onDisconnect: () => void lost.push(urls.length) }),
    );
    expect(events.map(({ id, type }) => `${id} ${type}`)).toEqual([
      "1 started",
      "2 step",
      "3 logs",
      "4 done",
    ]);
    expect(events[1]?.data).toMatchObject({ tokens: [Uint16Array.of(1), Uint16Array.of(2)] });
    expect(events[2]?.data).toBe("50%");
    const path = "https://vqd.test/at/v1/predictions/a%20b/events";
    expect(urls).toEqual([path, `${path}?last_event_id=2`, `${path}?last_event_id=2`]);
    expect(lost).toEqual([1, 2]);
  });

  it("end where there is nothing more", async () => {
    const { client } = clientOf([]);
    expect(await Array.fromAsync(client.events({ id: "a" }, { after: 9 }))).toEqual([]);
  });

  it("are refused with the service's reason, and given up after a while", async () => {
    const headers = { "x-request-id": "r1" };
    const body = JSON.stringify({ detail: "the prediction does not exist", code: "not_found" });
    const { client } = clientOf([new Response(body, { status: 404, headers })]);
    const refused = Array.fromAsync(client.events({ id: "a" }));
    await expect(refused).rejects.toMatchObject({
      status: 404,
      code: "not_found",
      requestId: "r1",
      message: "the prediction does not exist",
    } satisfies Partial<VqdError>);
    const gone = clientOf([new TypeError("network")]).client;
    await expect(Array.fromAsync(gone.events({ id: "a" }, { giveUpAfterMs: -1 }))).rejects.toMatchObject({
      status: 0,
    });
  });

  it("end with the signal's reason", async () => {
    const { client } = clientOf([new TypeError("network")]);
    const leaving = new AbortController();
    const onDisconnect = () => leaving.abort(new Error("left"));
    const events = Array.fromAsync(client.events({ id: "a" }, { signal: leaving.signal, onDisconnect }));
    await expect(events).rejects.toThrow("left");
  });
});

it.each([
  ["v1/models", "https://vqd.test/at/v1/models"],
  ["/v1/models", "https://vqd.test/at/v1/models"],
  ["http://internal:8787/v1/files/a/0.png", "https://vqd.test/at/v1/files/a/0.png"],
  ["https://other.test/path/v1/files/v1/0.png", "https://vqd.test/at/v1/files/v1/0.png"],
])("%s is %s", (link, url) => {
  expect(clientOf([]).client.url(link)).toBe(url);
});

it("pixels have the tokens' colours, and masked ones none", () => {
  const rgb = Uint8Array.of(1, 2, 3, 4, 5, 6);
  const tokens = tokensOf(btoa("\u0001\0\u0002\0\0\0"), 1)[0] ?? new Uint16Array();
  const pixels = pixelsOf(tokens, { mask: 2, width: 3, height: 1, rgb });
  expect([...pixels]).toEqual([4, 5, 6, 255, 0, 0, 0, 0, 1, 2, 3, 255]);
});
