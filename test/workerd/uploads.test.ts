// Replicate's files resource: what is accepted, who sees it, and what is left of it.

import { env } from "cloudflare:workers";
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { expect, it } from "vitest";
import { admitFile } from "../../edge/hub/admission/storage-limits.ts";
import { PredictionStore } from "../../edge/hub/storage/store.ts";
import { fileListSchema, fileSchema, problemSchema } from "../../edge/api-docs/answers.ts";
import { encodeHex } from "../../edge/util/bytes.ts";
import { MAX_SOURCE_BYTES } from "../../shared/limits.ts";
import { call, hubOf, ORIGIN } from "./support.ts";

const MAGIC = {
  png: "\x89PNG\r\n\x1a\n",
  jpg: "\xff\xd8\xff\xe0",
  webp: "RIFF\0\0\0\0WEBP",
  gif: "GIF89a",
  avif: "\0\0\0\x20ftypavif",
  tiff: "II*\0",
} as const;
const bytesOf = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(text, (char) => char.charCodeAt(0));
const image = (type: keyof typeof MAGIC = "png", length = 100): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(length).fill(7);
  bytes.set(bytesOf(MAGIC[type]));
  return bytes;
};

type Parts = readonly (readonly [name: string, value: string | Blob, filename?: string])[];
function formOf(parts: Parts): FormData {
  const form = new FormData();
  for (const [name, value, filename] of parts) {
    if (typeof value === "string") form.append(name, value);
    else form.append(name, value, filename);
  }
  return form;
}
const upload = (parts: Parts, key = "test-key"): Promise<Response> =>
  call("/v1/files", { method: "POST", body: formOf(parts), key });
const content = (bytes: Uint8Array<ArrayBuffer>, name = "cat.bin"): Parts => [
  ["content", new Blob([bytes]), name],
];

interface Uploaded {
  id: string;
  content_type: string;
  expires_at: string;
  created_at: string;
  urls: { get: string; download: string };
}
async function uploaded(parts: Parts, key?: string): Promise<Uploaded> {
  const response = await upload(parts, key);
  expect(response.status).toBe(201);
  const body = await response.json();
  expect(fileSchema.safeParse(body).error).toBeUndefined();
  return body as Uploaded;
}
const path = (url: string): string => url.slice(ORIGIN.length);
const remove = (id: string, key = "test-key"): Promise<Response> =>
  call(`/v1/files/${id}`, { method: "DELETE", key });

it("a file is what its bytes say, and is served by its download URL until it is deleted", async () => {
  for (const [type, media] of [
    ["png", "image/png"],
    ["jpg", "image/jpeg"],
    ["webp", "image/webp"],
    ["gif", "image/gif"],
    ["avif", "image/avif"],
    ["tiff", "image/tiff"],
  ] as const) {
    const bytes = image(type);
    const file = await uploaded([...content(bytes, "cat.svg"), ["metadata", '{"of": "a cat"}']]);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    expect(file).toMatchObject({
      name: "cat.svg",
      content_type: media,
      size: 100,
      etag: encodeHex(digest),
      checksums: { sha256: encodeHex(digest) },
      metadata: { of: "a cat" },
      urls: { get: `${ORIGIN}/v1/files/${file.id}` },
    });
    expect(Date.parse(file.expires_at) - Date.parse(file.created_at)).toBe(86_400_000);
    expect(await (await call(path(file.urls.get))).json()).toEqual(file);
    const download = await call(path(file.urls.download), { key: null });
    expect(download.headers.get("content-type")).toBe(media);
    expect(new Uint8Array(await download.arrayBuffer())).toEqual(bytes);
    expect((await remove(file.id)).status).toBe(204);
    expect((await call(path(file.urls.download), { key: null })).status).toBe(404);
    expect((await call(path(file.urls.get))).status).toBe(404);
    expect((await remove(file.id)).status).toBe(404);
  }
});

it("is listed for its owner, newest first, in pages; others neither see nor delete it", async () => {
  const ids: string[] = [];
  for (let i = 0; i < 3; i++) ids.unshift((await uploaded(content(image()))).id);
  const foreign = await uploaded(content(image()), "other-key");
  const listed: string[] = [];
  for (let next: string | null = `${ORIGIN}/v1/files?limit=2`; next !== null;) {
    const page: { results: Uploaded[]; next: string | null } = await (await call(path(next))).json();
    expect(fileListSchema.safeParse(page).error).toBeUndefined();
    expect(page.results.length).toBeLessThanOrEqual(2);
    listed.push(...page.results.map(({ id }) => id));
    next = page.next;
  }
  // Files of the same millisecond are in any order.
  expect(new Set(listed)).toEqual(new Set(ids));
  expect(listed).toHaveLength(3);
  expect((await call(`/v1/files/${foreign.id}`)).status).toBe(404);
  expect((await remove(foreign.id)).status).toBe(404);
  expect((await call(`/v1/files/${foreign.id}`, { key: "other-key" })).status).toBe(200);
  for (const id of ids) await remove(id);
  for (const bad of ["nope", "0".repeat(26)]) expect((await call(`/v1/files/${bad}`)).status).toBe(404);
});

it.each<[string, Parts, string, RegExp]>([
  ["no file", [["metadata", "{}"]], "content", /required/],
  ["text instead of a file", [["content", "GIF89a"]], "content", /required, as a file/],
  ["two files", [...content(image()), ...content(image())], "content", /single/],
  ["an empty file", content(new Uint8Array()), "content", /must be a PNG/],
  [
    "an SVG",
    content(bytesOf('<svg xmlns="http://www.w3.org/2000/svg"/>'), "a.png"),
    "content",
    /must be a PNG/,
  ],
  ["HTML", content(bytesOf("<!doctype html><script>1</script>"), "a.png"), "content", /must be a PNG/],
  ["a file that is too large", content(image("png", MAX_SOURCE_BYTES + 1)), "content", /at most \d+ bytes/],
  ["metadata that is no JSON", [...content(image()), ["metadata", "{"]], "metadata", /JSON object/],
  ["metadata that is a list", [...content(image()), ["metadata", "[]"]], "metadata", /JSON object/],
  [
    "much metadata",
    [...content(image()), ["metadata", `{"a":"${"a".repeat(5_000)}"}`]],
    "metadata",
    /at most/,
  ],
  ["an unknown field", [...content(image()), ["purpose", "vision"]], "purpose", /not a known field/],
])("refuses %s", async (_, parts, field, message) => {
  const response = await upload(parts);
  expect(response.status).toBe(422);
  const problem = await response.json<{ errors: { path: string; message: string }[] }>();
  expect(problemSchema.safeParse(problem).error).toBeUndefined();
  expect(problem.errors[0]?.path).toBe(field);
  expect(problem.errors[0]?.message).toMatch(message);
});

it("refuses bodies that are no forms, cut short or too large", async () => {
  const send = (body: BodyInit, type: string): Promise<Response> =>
    call("/v1/files", { method: "POST", body, headers: { "content-type": type } });
  const form = new Uint8Array(await new Response(formOf(content(image()))).arrayBuffer());
  const boundary = new TextDecoder("latin1").decode(form.subarray(2, form.indexOf(13)));
  for (const [body, type, status] of [
    ["{}", "application/json", 415],
    ["{}", "multipart/form-data", 400],
    ["nothing", "multipart/form-data; boundary=x", 400],
    [form.subarray(0, -10), `multipart/form-data; boundary=${boundary}`, 400],
    [new Uint8Array(5 * 1024 * 1024), "multipart/form-data; boundary=x", 413],
    [form, `multipart/form-data; boundary=${boundary}`, 201],
  ] as const) {
    const response = await send(body, type);
    expect([type, response.status]).toEqual([type, status]);
    await response.body?.cancel();
  }
});

it("counts among what its owner stores, and expires", async () => {
  const file = await uploaded(content(image("png", 5_000)));
  const hub = hubOf("test");
  const used = (): Promise<number> =>
    runInDurableObject(hub, (_, state) => new PredictionStore(state.storage).bytesOf("test").files);
  const before = await used();
  expect(before).toBeGreaterThanOrEqual(5_000);
  await runInDurableObject(hub, (_, state) => {
    const store = new PredictionStore(state.storage);
    const limits = { fileLimitBytes: before + 10, fileRetentionMs: 1_000 };
    admitFile(store, "test", 10, limits);
    expect(() => admitFile(store, "test", 11, limits)).toThrow(
      expect.objectContaining({ code: "storage_full" }) as Error,
    );
    state.storage.sql.exec("UPDATE uploads SET expires_at = ? WHERE id = ?", Date.now() - 1, file.id);
    return state.storage.setAlarm(Date.now() + 60_000);
  });
  expect((await call(path(file.urls.get))).status).toBe(404);
  await runDurableObjectAlarm(hub);
  expect((await call(path(file.urls.download), { key: null })).status).toBe(404);
  expect(await env.FILES.head(path(file.urls.download).replace("/v1/files/", ""))).toBeNull();
  expect(await used()).toBe(before - 5_000);
});

it("asks for the scopes of reading and creating", async () => {
  expect((await call("/v1/files", { key: null })).status).toBe(401);
  expect(
    (await call("/v1/files", { method: "POST", body: formOf(content(image())), key: "nope" })).status,
  ).toBe(401);
});
