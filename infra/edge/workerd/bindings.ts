// A self-hosted edge's stand-ins for R2, KV, static assets and the network, inside workerd: files on disk, and an outbound
// filter. workerd's R2 and KV bindings turn each call into an HTTP request (src/workerd/api/r2-rpc.c++, kv.c++); the classes
// here answer those that the edge makes, and no others.

import { WorkerEntrypoint } from "cloudflare:workers";

interface Env {
  /** Folders, as workerd's disk services. Only FILES is writable. */
  readonly FILES: Fetcher;
  readonly KEYS: Fetcher;
  readonly PAGES: Fetcher;
  /** Reaches public addresses, and loopback if webhooks may go there. */
  readonly PUBLIC: Fetcher;
  /** Reaches any address: for the servers named in the settings. */
  readonly SETTINGS: Fetcher;
  /** Origins of the NATS servers, as http or https. */
  readonly NATS_ORIGINS: readonly string[];
  /** Origins that webhooks may go to whatever their addresses. */
  readonly WEBHOOK_ORIGINS: readonly string[];
  /** URL of the collector's traces; empty for none. */
  readonly TRACES_URL: string;
}

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  avif: "image/avif",
  css: "text/css; charset=utf-8",
  gif: "image/gif",
  html: "text/html; charset=utf-8",
  jpg: "image/jpeg",
  js: "text/javascript; charset=utf-8",
  png: "image/png",
  svg: "image/svg+xml",
  tiff: "image/tiff",
  vqt: "application/vnd.vqd.tokens",
  webp: "image/webp",
};
const contentType = (name: string): string =>
  CONTENT_TYPES[name.slice(name.lastIndexOf(".") + 1)] ?? "application/octet-stream";

/** Null if the path does not exist. Throws an Error at any other failure. */
async function diskFetch(disk: Fetcher, path: string, init?: RequestInit): Promise<Response | null> {
  const response = await disk.fetch(`http://disk/${path}`, init);
  if (response.ok) return response;
  await response.body?.cancel();
  if (response.status === 404) return null;
  throw new Error(`the disk service responded ${response.status} to ${init?.method ?? "GET"}`);
}

async function namesIn(disk: Fetcher, folder: string): Promise<string[]> {
  const listing = await diskFetch(disk, folder);
  return listing === null ? [] : (await listing.json<{ name: string }[]>()).map(({ name }) => name);
}

/** One entity tag of If-None-Match, as workerd has parsed it. */
interface EtagCondition {
  readonly type: "strong" | "weak" | "wildcard";
  readonly value?: string;
}

type R2Request =
  | { readonly method: "get"; readonly object: string; readonly onlyIf?: R2Condition }
  | { readonly method: "put"; readonly object: string }
  | { readonly method: "list"; readonly prefix: string }
  | { readonly method: "delete"; readonly objects: readonly string[] };
interface R2Condition {
  readonly etagDoesNotMatch?: readonly EtagCondition[];
}

const METADATA_SIZE = "cf-r2-metadata-size";

interface FileFacts {
  readonly size: number;
  /** Without its quotes. */
  readonly etag: string;
  /** Unix time in ms. */
  readonly uploaded: number;
}

function factsOf(file: Response): FileFacts {
  const size = Number(file.headers.get("content-length"));
  const uploaded = Date.parse(file.headers.get("last-modified") ?? "");
  return { size, uploaded, etag: `${size.toString(16)}-${(uploaded / 1_000).toString(16)}` };
}

/** As R2 describes an object. */
const describe = (name: string, facts: FileFacts): object => ({
  ...facts,
  name,
  version: facts.etag,
  httpFields: { contentType: contentType(name) },
  customFields: [],
  checksums: {},
});

/** R2's response: metadata as JSON, followed by the file's bytes if there are any. */
function r2Answer(
  ctx: ExecutionContext,
  metadata: object,
  file?: { body: ReadableStream; size: number },
): Response {
  const json = new TextEncoder().encode(JSON.stringify(metadata));
  const { readable, writable } = new FixedLengthStream(json.length + (file?.size ?? 0));
  const write = async (): Promise<void> => {
    const writer = writable.getWriter();
    await writer.write(json);
    if (file === undefined) return writer.close();
    writer.releaseLock();
    await file.body.pipeTo(writable);
  };
  // Fails if the reader disconnects.
  ctx.waitUntil(write().catch(() => {}));
  return new Response(readable, { headers: { [METADATA_SIZE]: String(json.length) } });
}

/** `v4code` is the error's code in R2's API. */
function r2Error(status: number, v4code: number, message: string, answer = new Response()): Response {
  const headers = new Headers(answer.headers);
  headers.set("cf-r2-error", JSON.stringify({ version: 1, v4code, message }));
  return new Response(answer.body, { status, headers });
}

/** The bucket of images. A key is a folder and a file name; files do not change. */
export class Files extends WorkerEntrypoint<Env> {
  override async fetch(request: Request): Promise<Response> {
    const header = request.headers.get("cf-r2-request");
    if (header !== null) return this.#answer(JSON.parse(header) as R2Request, new Uint8Array());
    const size = Number(request.headers.get(METADATA_SIZE));
    const bytes = await request.bytes();
    const json = new TextDecoder().decode(bytes.subarray(0, size));
    return this.#answer(JSON.parse(json) as R2Request, bytes.subarray(size));
  }

  #answer(request: R2Request, value: Uint8Array): Response | Promise<Response> {
    switch (request.method) {
      case "get":
        return this.#get(request.object, request.onlyIf);
      case "put":
        return this.#put(request.object, value);
      case "list":
        return this.#list(request.prefix);
      case "delete":
        return this.#delete(request.objects);
      default:
        return r2Error(501, 10001, "the self-hosted edge has no such operation");
    }
  }

  async #get(name: string, { etagDoesNotMatch = [] }: R2Condition = {}): Promise<Response> {
    const file = await diskFetch(this.env.FILES, name);
    if (file?.body === undefined || file.body === null) return r2Error(404, 10007, "there is no such file");
    const facts = factsOf(file);
    const metadata = describe(name, facts);
    const isKnown = etagDoesNotMatch.some(({ type, value }) => type === "wildcard" || value === facts.etag);
    if (!isKnown) return r2Answer(this.ctx, metadata, { body: file.body, size: facts.size });
    await file.body.cancel();
    return r2Error(412, 10031, "a condition does not hold", r2Answer(this.ctx, metadata));
  }

  async #put(name: string, value: Uint8Array): Promise<Response> {
    await diskFetch(this.env.FILES, name, { method: "PUT", body: value });
    return r2Answer(this.ctx, describe(name, { size: value.length, etag: "", uploaded: Date.now() }));
  }

  /** `prefix` is a folder with its slash. */
  async #list(prefix: string): Promise<Response> {
    const names = await namesIn(this.env.FILES, prefix.replace(/\/$/, ""));
    const objects = names.map((name) =>
      // The edge uses the keys only.
      describe(`${prefix}${name}`, { size: 0, etag: "", uploaded: 0 }),
    );
    return r2Answer(this.ctx, { objects, truncated: false, delimitedPrefixes: [] });
  }

  /** Also removes folders that become empty. */
  async #delete(names: readonly string[]): Promise<Response> {
    const { FILES } = this.env;
    for (const name of names) await diskFetch(FILES, name, { method: "DELETE" });
    for (const folder of new Set(names.map((name) => name.slice(0, name.indexOf("/"))))) {
      if ((await namesIn(FILES, folder)).length === 0) await diskFetch(FILES, folder, { method: "DELETE" });
    }
    return new Response();
  }
}

/** The namespace of API keys: one file per key. `npm run keys` writes them; the edge can only read them. */
export class Keys extends WorkerEntrypoint<Env> {
  override async fetch(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (request.method !== "GET") {
      // workerd does not read the response before its request has been read.
      await request.bytes();
      return new Response("keys can only be read here", { status: 405 });
    }
    if (pathname !== "/") {
      return (await diskFetch(this.env.KEYS, pathname.slice(1))) ?? new Response(null, { status: 404 });
    }
    const prefix = searchParams.get("prefix") ?? "";
    const names = (await namesIn(this.env.KEYS, "")).filter((name) => name.startsWith(prefix));
    const limit = Number(searchParams.get("key_count_limit"));
    return Response.json({
      keys: names.slice(0, limit).map((name) => ({ name })),
      list_complete: names.length <= limit,
    });
  }
}

/** The files of the pages. */
export class Pages extends WorkerEntrypoint<Env> {
  override async fetch(request: Request): Promise<Response> {
    const path = new URL(request.url).pathname.slice(1);
    const file = await diskFetch(this.env.PAGES, path);
    if (file === null) return new Response(null, { status: 404 });
    const etag = `"${factsOf(file).etag}"`;
    const known = request.headers.get("if-none-match") ?? "";
    if (!known.split(",").some((tag) => tag.trim().replace(/^W\//, "") === etag)) {
      return new Response(file.body, { headers: { etag, "content-type": contentType(path) } });
    }
    await file.body?.cancel();
    return new Response(null, { status: 304, headers: { etag } });
  }
}

/** The edge's outbound requests. Only those to servers of the settings may reach private addresses: webhooks' URLs are callers'. */
export class Outbound extends WorkerEntrypoint<Env> {
  override fetch(request: Request): Promise<Response> {
    const { PUBLIC, SETTINGS, NATS_ORIGINS, TRACES_URL, WEBHOOK_ORIGINS } = this.env;
    const { origin } = new URL(request.url);
    const isNats = request.headers.get("upgrade") === "websocket" && NATS_ORIGINS.includes(origin);
    const isNamed = isNats || request.url === TRACES_URL || WEBHOOK_ORIGINS.includes(origin);
    return (isNamed ? SETTINGS : PUBLIC).fetch(request);
  }
}

export default { fetch: (): Response => new Response(null, { status: 404 }) };
