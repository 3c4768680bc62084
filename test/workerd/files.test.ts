// Conditions on a file: what RFC 9110 makes of them for something that never changes and has no date.

import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { fileKey } from "../../edge/hub/storage/files.ts";
import { newCapability } from "../../shared/ids.ts";
import { call, IMAGE } from "./support.ts";

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
