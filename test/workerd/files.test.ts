// How long a file may be cached, and conditions on it: what RFC 9110 makes of them for something that never changes and has no date.

import { env } from "cloudflare:workers";
import { afterEach, expect, it, vi } from "vitest";
import { fileKey } from "../../edge/hub/storage/files.ts";
import { newCapability } from "../../shared/ids.ts";
import { call, IMAGE } from "./support.ts";

afterEach(() => {
  vi.useRealTimers();
});

it("a file may be cached for as long as the service keeps it, and no longer", async () => {
  const capability = newCapability();
  await env.FILES.put(fileKey(capability, "0.png"), IMAGE);
  const ask = async (seconds: number, headers: Record<string, string> = {}): Promise<[number, string]> => {
    vi.setSystemTime(storedAt + seconds * 1_000);
    const answer = await call(`/v1/files/${capability}/0.png`, { key: null, headers });
    await answer.body?.cancel();
    return [answer.status, answer.headers.get("cache-control") ?? ""];
  };
  const { uploaded, httpEtag } = (await env.FILES.head(fileKey(capability, "0.png"))) as R2Object;
  const storedAt = uploaded.getTime();
  vi.useFakeTimers({ toFake: ["Date"] });
  const forSeconds = (seconds: number): string => `public, max-age=${seconds}, must-revalidate, immutable`;
  const retention = 86_400;
  expect(await ask(0)).toEqual([200, forSeconds(retention)]);
  expect(await ask(3_600)).toEqual([200, forSeconds(retention - 3_600)]);
  expect(await ask(3_600, { "if-none-match": httpEtag })).toEqual([304, forSeconds(retention - 3_600)]);
  expect(await ask(retention - 1)).toEqual([200, forSeconds(1)]);
  // Not deleted yet.
  expect(await ask(retention)).toEqual([200, "no-store"]);
  expect(await ask(retention + 1, { "if-none-match": httpEtag })).toEqual([304, "no-store"]);
});

it("a file is served on the conditions of entity tags only", async () => {
  const capability = newCapability();
  await env.FILES.put(fileKey(capability, "0.png"), IMAGE);
  const url = `/v1/files/${capability}/0.png`;
  const file = await call(url, { key: null });
  const etag = file.headers.get("etag") ?? "";
  await file.body?.cancel();
  const past = new Date(0).toUTCString();
  for (const [headers, status] of [
    [{ "if-none-match": etag }, 304],
    [{ "if-none-match": `W/${etag}` }, 304],
    [{ "if-none-match": `"nope", ${etag}` }, 304],
    [{ "if-none-match": "*" }, 304],
    [{ "if-none-match": '"nope"' }, 200],
    // What is no entity tag is no condition.
    [{ "if-none-match": "abc" }, 200],
    [{ "if-none-match": '"' }, 200],
    [{ "if-match": "abc" }, 200],
    [{ "if-match": etag }, 200],
    [{ "if-match": "*" }, 200],
    [{ "if-match": `"nope", ${etag}` }, 200],
    [{ "if-match": etag, "if-none-match": etag }, 304],
    [{ "if-match": '"nope"' }, 412],
    [{ "if-match": `W/${etag}` }, 412],
    [{ "if-match": '"nope"', "if-none-match": etag }, 412],
    // Answers say no date, so that none is a condition.
    [{ "if-unmodified-since": past }, 200],
    [{ "if-modified-since": new Date().toUTCString() }, 200],
  ] as const) {
    const response = await call(url, { key: null, headers });
    expect([headers, response.status]).toEqual([headers, status]);
    const body = new Uint8Array(await response.arrayBuffer());
    if (status === 200) expect(body).toEqual(IMAGE);
    if (status === 304) expect(response.headers.get("etag")).toBe(etag);
    if (status === 412) {
      const problem = JSON.parse(new TextDecoder().decode(body)) as object;
      expect(problem).toMatchObject({ status: 412, code: "precondition_failed" });
    }
  }
});
